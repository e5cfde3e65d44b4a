"""Bootstrap intervals of corpus scores and of where two lines cross.

Sentences are drawn, and training seeds where there are several. A corpus score is a function of sums over sentences, so
a resampled test set is one product of a matrix with these.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU

from fairseq_kd.evaluate.scores import BOOTSTRAP_SAMPLES, bootstrap_seed

Score = Callable[[np.ndarray], float]
"""From the sums of :func:`bleu_statistics` or of (right, all) tokens to a score in percent."""
ENDS = (2.5, 97.5)


def bleu_statistics(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """What each sentence adds to a corpus BLEU, shape (sentences, 10): 4 matches, 4 n-grams, both lengths."""
    metric = BLEU(effective_order=True)  # changes the sentence's score, not its counts; without it there is a warning
    each = [metric.sentence_score(*pair) for pair in zip(hypotheses, ([line] for line in references), strict=True)]
    return np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in each], dtype=np.int64)


def bleu(sums: np.ndarray) -> float:
    """sacreBLEU's corpus BLEU of the sentences whose statistics were summed."""
    counts, totals, (length, wanted) = sums[:4].tolist(), sums[4:8].tolist(), sums[8:].tolist()
    return float(BLEU.compute_bleu(counts, totals, length, wanted, smooth_method="exp").score)


def accuracy(sums: np.ndarray) -> float:
    """The right tokens' share in percent; 0 where there are none."""
    return 100 * float(sums[0]) / max(1, int(sums[1]))


@dataclass(frozen=True)
class Curve:
    """A score at each place of an axis.

    Attributes:
        values: each training seed's at each place, (places) lists.
        mean: their means over seeds, shape (places,).
        draws: what the resampled means are, shape (samples, places).
    """

    values: list[list[float]]
    mean: np.ndarray
    draws: np.ndarray

    def part(self, places: slice) -> "Curve":
        """The same at some of its places."""
        return Curve(self.values[places], self.mean[places], self.draws[:, places])

    @classmethod
    def join(cls, curves: Sequence["Curve"]) -> "Curve":
        """One curve of several's places."""
        values = [value for one in curves for value in one.values]
        mean, draws = (np.concatenate([getattr(one, name) for one in curves], axis=-1) for name in ("mean", "draws"))
        return cls(values, mean, draws)


class Resampler:
    """Draws test sentences and seeds with replacement.

    The sentences drawn are the same for every test set of as many rows, so that scores on one test set stay paired.
    """

    def __init__(self) -> None:
        sentences, seeds = np.random.SeedSequence(bootstrap_seed()).spawn(2)
        self._sentences, self._seeds = sentences, np.random.default_rng(seeds)
        self._weights: dict[int, np.ndarray] = {}

    def weights(self, rows: int) -> np.ndarray:
        """How often each row is in each resampled test set, shape (samples, rows)."""
        if rows not in self._weights:
            random = np.random.default_rng(self._sentences)
            self._weights[rows] = random.multinomial(rows, np.full(rows, 1 / rows), size=BOOTSTRAP_SAMPLES)
        return self._weights[rows]

    def measure(self, runs: Sequence[np.ndarray], score: Score, subsets: Sequence[np.ndarray]) -> Curve:
        """A line's score on each of ``subsets``, one place each.

        Args:
            runs: the statistics of each seed's model, shape (rows, figures).
            score: of their sums.
            subsets: indices of rows.
        """
        weights = self.weights(len(runs[0]))
        values = [[score(run[rows].sum(axis=0)) for run in runs] for rows in subsets]
        scores = np.array(
            [
                [[score(sums) for sums in weights[:, rows] @ run[rows]] for run in runs]
                for rows in subsets
            ]
        )  # fmt: skip
        drawn = self._seeds.integers(len(runs), size=(len(runs), BOOTSTRAP_SAMPLES))
        draws = np.take_along_axis(scores, drawn[None], axis=1).mean(axis=1).T
        return Curve(values, np.mean(values, axis=1), draws)


def interval(draws: np.ndarray) -> list[float]:
    """The ends of the 95 % percentile interval."""
    return [float(end) for end in np.percentile(draws, ENDS)]


def crossings(places: np.ndarray, differences: np.ndarray) -> list[float]:
    """Where the line through (places, differences) changes its sign; straight between neighbours.

    Both have shape (places,), the places ascending. Where the difference is zero over a stretch and of other signs on
    its two sides, it is the stretch's middle; a line that only touches zero does not cross.
    """
    found: list[float] = []
    sure = np.flatnonzero(differences)
    for left, right in pairwise(sure):
        if (differences[left] > 0) == (differences[right] > 0):
            continue
        if right == left + 1:
            share = differences[left] / (differences[left] - differences[right])
            found.append(float(places[left] + share * (places[right] - places[left])))
        else:
            found.append(float((places[left + 1] + places[right - 1]) / 2))
    return found


def compare(places: Sequence[float], line: Curve, other: Curve, logarithmic: bool) -> dict[str, Any]:
    """By how much ``line`` is above ``other`` at each place, and where they cross.

    Returns:
        "differences", each {"mean", "interval"}; "crossings", each {"at"; "share", of the resampled lines those that
        cross anywhere; "interval" of the crossing nearest to it in these, or None where there is none; "clear", whether
        the 95 % intervals of the difference leave zero out somewhere on either side, with other signs}.
    """
    scale, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    along = scale(np.asarray(places, dtype=float))
    means, draws = line.mean - other.mean, line.draws - other.draws
    measured = crossings(along, means)
    resampled = [found for found in (crossings(along, draw) for draw in draws) if found] if measured else []
    ends = [interval(each) for each in draws.T]
    sure = np.array([1 if low > 0 else -1 if high < 0 else 0 for low, high in ends])
    return {
        "differences": [{"mean": float(mean), "interval": each} for mean, each in zip(means, ends, strict=True)],
        "crossings": [
            {
                "at": float(back(at)),
                "share": len(resampled) / len(draws),
                "interval": _around(at, resampled, back),
                "clear": any(one * other < 0 for one in sure[along < at] for other in sure[along > at]),
            }
            for at in measured
        ],
    }


def _around(at: float, resampled: Sequence[Sequence[float]], back: Any) -> list[float] | None:
    nearest = [min(found, key=lambda one: abs(one - at)) for found in resampled]
    return interval(back(nearest)) if nearest else None
