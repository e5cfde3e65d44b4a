"""Speed and quality of beam search with one engine."""

import time
from collections.abc import Sequence
from pathlib import Path

from fairseq.data.data_utils import post_process
from sacrebleu.metrics import BLEU

from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.databins.files import UNNAMED
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.storage.files import whole_file

WARM_UP_ROWS = 64


def measure_decoding(
    model: str,
    data: str,
    rows: int,
    engine: str,
    precision: str,
    output: str,
    reference: str,
    languages: Sequence[str | None] = UNNAMED,
) -> dict[str, float]:
    """Time beam search over the first rows of the training set.

    Args:
        model: the checkpoint.
        data: the data-bin.
        rows: how many of its first training rows are decoded.
        engine: what decodes.
        precision: what it computes in.
        output: file that the translations are written to.
        reference: file of translations to compare with; it may be ``output`` itself.
        languages: source and target of the data-bin.

    Returns:
        "seconds", "sentences_per_second", "bleu" against the training targets, and "identical", the share of lines that
        equal those of ``reference``.
    """
    source, target = languages
    task = open_databin(data, "train", (source, target))
    dataset = task.dataset("train")
    sources = [dataset.src[row] for row in range(min(rows, len(dataset)))]
    targets = [task.target_dictionary.string(dataset.tgt[row]) for row in range(len(sources))]
    decoder = choose_engine(engine, precision, [model], task).build()
    search = DecodingOptions(beam=5, max_len_a=1.2, max_len_b=10)
    decoder.translate(sources[:WARM_UP_ROWS], search)
    start = time.perf_counter()
    found = [best[0].tokens for best in decoder.translate(sources, search)]
    seconds = time.perf_counter() - start
    with whole_file(output) as handle:
        handle.writelines(f"{line}\n" for line in found)
    others = Path(reference).read_text(encoding="utf-8").split("\n")[:-1]
    hypotheses, references = ([post_process(line, "sentencepiece") for line in lines] for lines in (found, targets))
    return {
        "seconds": seconds,
        "sentences_per_second": len(sources) / seconds,
        "bleu": BLEU().corpus_score(hypotheses, [references]).score,
        "identical": sum(map(str.__eq__, found, others)) / len(found),
    }
