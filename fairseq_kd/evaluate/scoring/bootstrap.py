"""sacreBLEU's paired bootstrap of BLEU; each system is resampled once and then compared with any other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU

from fairseq_kd.evaluate.scoring.scores import BOOTSTRAP_SAMPLES, Streams, bootstrap_seed, make_bleu
from fairseq_kd.evaluate.scoring.tokenizers import TOKENIZERS


@dataclass
class Resampled:
    """A system's BLEU on the test set and on all resamples of it.

    Attributes:
        score: BLEU in percent.
        scores: BLEU of each resample, shape (BOOTSTRAP_SAMPLES,).
    """

    score: float
    scores: NDArray[np.float64]

    def interval(self) -> float:
        """Half the width of the 95 % bootstrap interval of BLEU, in points, as sacreBLEU's ``estimate_ci`` gives it."""
        ordered = np.sort(self.scores)
        cut = len(ordered) // 40
        return float(0.5 * (ordered[len(ordered) - cut - 1] - ordered[cut]))

    def p_value(self, other: "Resampled") -> float:
        """The p-value of the difference in BLEU, the same from either side; equal to that of sacreBLEU's `PairedTest`.

        Systems that have the same BLEU on each resample, such as equal lines, have p = 1. sacreBLEU itself would call
        them significantly different: it counts the resamples whose difference exceeds the observed one, and none does.
        """
        return _p_value(self.scores - other.scores, self.score - other.score)


def p_over_seeds(results: Sequence[Resampled], others: Sequence[Resampled]) -> float:
    """The p-value of the difference in mean BLEU between two rows of several training seeds each.

    Sentences and seeds are drawn together, so a seed is a random effect: each resample of the sentences is scored with
    as many seeds of either row, drawn with replacement, as the row has; see :func:`mean_over_seeds`. The p-value knows
    nothing of what the seeds of a row of one seed change.
    """
    draw = np.random.default_rng(bootstrap_seed())
    # The worse row draws first, so that p is the same from either side. Of equal means the resamples decide.
    low, high = sorted((results, others), key=lambda row: (_mean_score(row), [one.scores.tolist() for one in row]))
    low_drawn, high_drawn = _over_seeds(low, draw), _over_seeds(high, draw)
    return _p_value(high_drawn - low_drawn, _mean_score(high) - _mean_score(low))


def _mean_score(results: Sequence[Resampled]) -> float:
    return float(np.mean([one.score for one in results]))


def _over_seeds(results: Sequence[Resampled], draw: np.random.Generator) -> NDArray[np.float64]:
    """A row's mean BLEU on each resample of sentences and seeds, shape (BOOTSTRAP_SAMPLES,)."""
    scores = np.stack([one.scores for one in results])  # (seeds, samples)
    return mean_over_seeds(scores, draw.integers(len(scores), size=scores.shape))


def mean_over_seeds(scores: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean score of the seeds drawn for each resample.

    n seeds drawn from n vary less than n new ones would: their deviation from the mean of all is enlarged by
    √(n / (n − 1)). One seed has no such deviation.

    Args:
        scores: of each seed on each resample of the sentences, shape (..., seeds, samples).
        drawn: as many seeds as there are, drawn with replacement for each resample, shape (seeds, samples).

    Returns:
        Shape (..., samples).
    """
    count, mean = len(drawn), scores.mean(axis=-2)
    if count == 1:
        return mean
    found = np.take_along_axis(scores, np.broadcast_to(drawn, scores.shape), axis=-2).mean(axis=-2)
    return mean + (found - mean) * np.sqrt(count / (count - 1))


def _p_value(differences: NDArray[np.float64], observed: float) -> float:
    """sacreBLEU's p-value: the share of resamples whose difference exceeds the mean one by more than the observed.

    It is 1 where no resample has a difference.
    """
    if not differences.any():
        return 1.0
    sizes = np.abs(differences)
    above = sizes - sizes.mean() > abs(observed)
    return (int(above.sum()) + 1) / (len(above) + 1)


class Bootstrap:
    """Draws resamples of a test set, the same for all systems, with sacreBLEU's generator and seed.

    Args:
        references: detokenised lines, one for each sentence of the test set.
        tokenize: sacreBLEU's tokenizer.
        more: further references.
        lowercase: whether upper and lower case are the same.

    Raises:
        UserError: the tokenizer lacks a package or its model.
    """

    def __init__(
        self, references: Sequence[str], tokenize: str = TOKENIZERS[0], more: Streams = (), lowercase: bool = False
    ):
        self._metric = make_bleu(tokenize, lowercase=lowercase)
        # sacreBLEU keeps the n-grams of each reference. A metric for each line would load a tokenizer for each line.
        streams: Any = [list(references), *map(list, more)]
        self._references = self._metric._cache_references(streams)
        size = len(references)
        drawn = np.random.default_rng(bootstrap_seed()).choice(size, size=(BOOTSTRAP_SAMPLES, size), replace=True)
        # How often each resample holds each sentence, shape (samples, sentences).
        self._counts = np.stack([np.bincount(sample, minlength=size) for sample in drawn]).astype(np.float64)

    def resample(self, hypotheses: Sequence[str]) -> Resampled:
        """BLEU of a system's lines, one for each reference, on the test set and on all resamples."""
        lines = map(self._metric._preprocess_segment, hypotheses)
        count = self._metric._compute_segment_statistics
        # System length, reference length, matches of four orders, n-grams of four orders: shape (sentences, 10).
        sums = np.array([count(line, reference) for line, reference in zip(lines, self._references, strict=True)])
        # Whole numbers stay exact in a float64 product. sacreBLEU computes each resample's BLEU in float32.
        resamples = (self._counts @ sums).astype(np.float32)
        scores = np.array([_bleu(sample) for sample in resamples])
        return Resampled(_bleu(sums.sum(0).tolist()), scores)


def _bleu(sums: Sequence[int] | NDArray[np.float32]) -> float:
    """BLEU in percent, of the corpus's lengths, matches and n-grams, with the smoothing of ``BLEU()``."""
    return float(
        BLEU.compute_bleu(sums[2:6], sums[6:], int(sums[0]), int(sums[1]), smooth_method="exp").score  # type: ignore[arg-type]
    )
