"""sacreBLEU's scores of detokenised text, and the size and seed of its bootstrap."""

import os
from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics import BLEU, CHRF, TER

BOOTSTRAP_SAMPLES = 1000


def score_text(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Corpus BLEU, chrF and TER of detokenised lines, each ``{"score": in percent, "signature": sacreBLEU's}``."""
    scores = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF()), ("ter", TER())):
        score = metric.corpus_score(list(hypotheses), [list(references)]).score
        scores[name] = {"score": score, "signature": str(metric.get_signature())}
    return scores


def bootstrap_seed() -> int | None:
    """The seed of sacreBLEU's resampling: ``SACREBLEU_SEED`` or its default; None for a new seed each time."""
    seed = os.environ.get("SACREBLEU_SEED", "12345")
    return None if seed.lower() == "none" else int(seed)
