"""Translations, and how fast they were made."""

import statistics
import time
from collections.abc import Sequence

import torch
from tqdm import tqdm

from fairseq_kd.decoding.interface import Engine, Hypothesis
from fairseq_kd.decoding.options import DecodingOptions

WARM_UP_ROWS = 8


def now() -> float:
    """Seconds on a clock that waits for the GPU to finish."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def translate_timed(
    engine: Engine, sources: Sequence[torch.Tensor], skipped: Sequence[bool], options: DecodingOptions
) -> tuple[list[Hypothesis], dict[str, float]]:
    """Translate all sources and time it, without loading and without the first batch's extra cost.

    Args:
        engine: what decodes.
        sources: token ids ending in ``</s>``.
        skipped: whether the engine refuses each source; these rows count in no rate.
        options: how to search.

    Returns:
        Each row's best hypothesis, and "seconds", "sentences_per_second" and "target_tokens_per_second".
    """
    asked = [source for source, skip in zip(sources, skipped, strict=True) if not skip]
    engine.translate(asked[:WARM_UP_ROWS], options)
    start = now()
    with tqdm(total=len(sources), desc=f"beam {options.beam}", unit="sentence", disable=None) as bar:
        hypotheses = [best[0] for best in engine.translate(sources, options, bar.update)]
        seconds = now() - start
    # A hypothesis also cost the step that made its </s>.
    tokens = sum(best.size for best, skip in zip(hypotheses, skipped, strict=True) if not skip)
    speed = {
        "seconds": seconds,
        "sentences_per_second": len(asked) / seconds,
        "target_tokens_per_second": tokens / seconds,
    }
    return hypotheses, speed


def mode_mass(hypotheses: Sequence[Hypothesis], skipped: Sequence[bool]) -> float | None:
    """The mean of p(ŷ|x), the probability that a model gives to its own translation ŷ of a source x.

    Kim & Rush 2016, section 5 and Table 1, p(t = ŷ). The larger it is, the closer greedy search comes to beam search.
    Skipped rows do not count; the result is None where all rows were skipped.
    """
    found = [best.probability for best, skip in zip(hypotheses, skipped, strict=True) if not skip]
    return statistics.fmean(found) if found else None
