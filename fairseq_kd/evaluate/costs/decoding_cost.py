"""What decoding with one engine costs; each measurement has a process to itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.interface import Engine, Hypothesis
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.evaluate.costs.timed_translation import translate_timed
from fairseq_kd.timing import process_memory


class OneByOne:
    """An engine that gets one sentence at a time, as when a person waits for each translation."""

    def __init__(self, engine: Engine):
        self.engine, self.parameters, self.takes = engine, engine.parameters, engine.takes

    def translate(
        self, sources: Sequence[torch.Tensor], options: DecodingOptions, progress: Any = None
    ) -> list[list[Hypothesis]]:
        """As :meth:`Engine.translate`."""
        return [self.engine.translate([source], options, progress)[0] for source in sources]


def measure_cost(
    models: list[str],
    data: str,
    subset: str,
    rows: int,
    engine: str,
    precision: str,
    batched: bool,
    search: dict[str, Any],
    languages: Sequence[str],
    shortlist: str | None = None,
) -> dict[str, float]:
    """Decode the first rows of a subset.

    Args:
        models: checkpoints; several are an ensemble.
        data: the data-bin.
        subset: its split.
        rows: how many of the first rows are decoded.
        engine: what decodes.
        precision: what it computes in.
        batched: whether the engine gets all sentences at once, or one after another.
        search: the fields of a :class:`DecodingOptions`.
        languages: source and target.
        shortlist: a vocabulary map, as :func:`choose_engine` takes it.

    Returns:
        "seconds", rates, "sentences" that the model takes, and "memory" in MiB: the most that model and search held
        while they decoded, above what the process held before the model was loaded. Reading the checkpoint does not
        count.
    """
    source, target = languages
    task = open_databin(data, subset, (source, target))
    dataset = task.dataset(subset)
    sources = [dataset.src[row] for row in range(min(rows, len(dataset)))]
    chosen = choose_engine(engine, precision, models, task, shortlist=None if shortlist is None else Path(shortlist))
    before = process_memory.held()
    decoder = chosen.build()
    process_memory.held()
    process_memory.start_peak()
    skipped = [not decoder.takes(source) for source in sources]
    _, speed = translate_timed(decoder if batched else OneByOne(decoder), sources, skipped, DecodingOptions(**search))
    return {**speed, "sentences": skipped.count(False), "memory": process_memory.peak() - before}
