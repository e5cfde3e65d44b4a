"""sacreBLEU's scores of detokenised text, and its paired bootstrap."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest

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


def _bootstrap(systems: Sequence[Sequence[str]], references: Sequence[str]) -> list[Any]:
    """sacreBLEU's BLEU results (score, p_value, ci) of ``systems``; each is paired with the first."""
    logging.getLogger("sacrebleu").setLevel(logging.WARNING)  # it logs each resampling at INFO
    named: list[tuple[str, Sequence[str]]] = [(str(number), list(lines)) for number, lines in enumerate(systems)]
    metrics = {"BLEU": BLEU(references=[list(references)])}
    return PairedTest(named, metrics, None, test_type="bs", n_samples=BOOTSTRAP_SAMPLES)()[1]["BLEU"]


def confidence_interval(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Half the width of the 95 % bootstrap interval of BLEU, in points."""
    return float(_bootstrap([hypotheses], references)[0].ci)


def p_value(hypotheses: Sequence[str], baseline: Sequence[str], references: Sequence[str]) -> float:
    """The paired bootstrap's p-value of the difference in BLEU between ``hypotheses`` and ``baseline``.

    Equal lines have p = 1. sacreBLEU itself would call them significantly different: it counts the resamples whose
    difference exceeds the observed one, and no resample of equal lines does.
    """
    if list(hypotheses) == list(baseline):
        return 1.0
    return float(_bootstrap([baseline, hypotheses], references)[1].p_value)
