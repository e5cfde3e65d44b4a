"""Scores beside BLEU, chrF and TER: ROUGE, as summaries are scored, and BLEU of short n-grams, as dialogues are."""

import logging
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.options import METRICS
from fairseq_kd.evaluate.scoring.scores import Scoring, Streams

logger = logging.getLogger(__name__)

ROUGE = ("rouge1", "rouge2", "rougeL")
"""ROUGE of words, of pairs of words, and of the longest common subsequence."""


def check_metrics(names: Sequence[str]) -> None:
    """Check that the metrics can be computed; this comes before hours of decoding.

    Raises:
        UserError: there is no such metric, or its package is not installed.
    """
    for name in names:
        if name not in METRICS:
            raise UserError(f"--metrics {name}: there is no such metric; choose from {', '.join(METRICS)}")
    if "rouge" in names:
        _scorer()


def warn_of_script(references: Sequence[str], names: Sequence[str]) -> None:
    """Log a warning where ROUGE is among ``names`` and leaves out most letters of the references."""
    letters = [letter for line in references for letter in line if letter.isalpha()]
    left_out = sum(not letter.isascii() for letter in letters)
    if "rouge" in names and left_out > len(letters) / 2:
        logger.warning(
            "--metrics rouge counts a to z and digits alone: it leaves out %d of %d letters of the references, so it "
            "says nothing about this text",
            left_out, len(letters),
        )  # fmt: skip


def more_scores(
    hypotheses: Sequence[str], references: Streams, scoring: Scoring, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The scores ``names`` of detokenised lines, each ``{"score": in percent, "signature": what made it}``.

    "rouge" gives "rouge1", "rouge2" and "rougeL": means over sentences of the F1 that the package rouge-score computes
    with its stemmer (Lin 2004). Of several references the best counts. "bleu1" is sacreBLEU's BLEU of single words, and
    "bleu2" that of words and pairs of words, with its brevity penalty.

    Args:
        hypotheses: the lines.
        references: as :func:`fairseq_kd.evaluate.scoring.scores.score_text` takes them.
        scoring: how the short BLEU counts words; rouge-score always counts lowercased words of Latin letters and
            digits.
        names: from :data:`fairseq_kd.evaluate.options.METRICS`.

    Raises:
        UserError: as :func:`check_metrics`.
    """
    check_metrics(names)
    scores: dict[str, dict[str, Any]] = {}
    for name in names:
        if name == "rouge":
            scores |= _rouge(hypotheses, references)
            continue
        metric = scoring.bleu(order=int(name.removeprefix("bleu")))
        streams: Any = list(references)  # sacreBLEU's annotation leaves out the None that it takes
        score = metric.corpus_score(list(hypotheses), streams).score
        scores[name] = {"score": score, "signature": f"{metric.get_signature()}|order:{metric.max_ngram_order}"}
    return scores


def _rouge(hypotheses: Sequence[str], references: Streams) -> dict[str, dict[str, Any]]:
    scorer = _scorer()
    found: dict[str, list[float]] = {kind: [] for kind in ROUGE}
    for line, *given in zip(hypotheses, *references, strict=True):
        scores = scorer.score_multi([reference for reference in given if reference is not None], line)
        for kind in ROUGE:
            found[kind].append(scores[kind].fmeasure)
    signature = f"rouge-score {version('rouge-score')}|stemmer:yes|F1|nrefs:{len(references)}"
    return {kind: {"score": 100 * statistics.fmean(each), "signature": signature} for kind, each in found.items()}


def _scorer() -> Any:
    """The scorer of the package rouge-score.

    Raises:
        UserError: the package is not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise UserError(
            f"--metrics rouge: needs the package rouge-score ({error}); run pip install 'fairseq-kd[rouge]'"
        ) from None
    return RougeScorer(list(ROUGE), use_stemmer=True)
