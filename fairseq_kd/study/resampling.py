"""Bootstrap intervals of corpus scores and of where two lines cross.

Sentences are drawn, and training seeds where there are several. A corpus score is a function of sums over sentences, so
a resampled test set is one product of a matrix with these.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU

from fairseq_kd.evaluate.scoring.bootstrap import mean_over_seeds
from fairseq_kd.evaluate.scoring.scores import BOOTSTRAP_SAMPLES, Streams, bootstrap_seed, make_bleu, references_of_each
from fairseq_kd.evaluate.scoring.tokenizers import TOKENIZERS

Score = Callable[[np.ndarray], float]
"""Maps the sums of :func:`bleu_statistics`, or of (right, all) tokens, to a score in percent."""
ENDS = (2.5, 97.5)
ROUNDING = 1e-9
"""A difference is zero if it is this much smaller than the line's largest."""


def bleu_statistics(
    hypotheses: Sequence[str],
    references: Sequence[str],
    tokenize: str = TOKENIZERS[0],
    more: Streams = (),
    lowercase: bool = False,
) -> np.ndarray:
    """Each sentence's counts for a corpus BLEU, shape (sentences, 10): 4 of matches, 4 of n-grams, and both lengths.

    Args:
        hypotheses: detokenised lines.
        references: a line for each.
        tokenize: sacreBLEU's tokenizer.
        more: further references.
        lowercase: whether upper and lower case are the same.

    Raises:
        UserError: the tokenizer lacks a package or its model.
    """
    # "sentences" changes a sentence's score, not its counts.
    metric = make_bleu(tokenize, sentences=True, lowercase=lowercase)
    each = [metric.sentence_score(*pair) for pair in zip(hypotheses, references_of_each(references, more), strict=True)]
    return np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in each], dtype=np.int64)


def bleu(sums: np.ndarray) -> float:
    """sacreBLEU's corpus BLEU of the sentences whose statistics were summed."""
    counts, totals, (length, wanted) = sums[:4].tolist(), sums[4:8].tolist(), sums[8:].tolist()
    return float(BLEU.compute_bleu(counts, totals, length, wanted, smooth_method="exp").score)


def accuracy(sums: np.ndarray) -> float:
    """The share of right tokens in percent, of the sums (right, all); 0 without tokens."""
    return 100 * float(sums[0]) / max(1, int(sums[1]))


@dataclass(frozen=True)
class Curve:
    """A score at each place of an axis.

    Attributes:
        values: at each place, the score of each training seed; as many lists as places.
        mean: over seeds, shape (places,).
        draws: the means of resampled sentences and seeds, with the seeds' deviations enlarged as in a table, shape
            (samples, places).
    """

    values: list[list[float]]
    mean: np.ndarray
    draws: np.ndarray

    def part(self, places: slice) -> "Curve":
        """The curve at some of its places."""
        return Curve(self.values[places], self.mean[places], self.draws[:, places])

    @classmethod
    def join(cls, curves: Sequence["Curve"]) -> "Curve":
        """One curve with the places of several."""
        values = [value for one in curves for value in one.values]
        mean, draws = (np.concatenate([getattr(one, name) for one in curves], axis=-1) for name in ("mean", "draws"))
        return cls(values, mean, draws)


class Resampler:
    """Draws test sentences and seeds with replacement.

    Test sets with the same number of rows get the same draws, so scores on one test set stay paired.
    """

    def __init__(self) -> None:
        sentences, seeds = np.random.SeedSequence(bootstrap_seed()).spawn(2)
        self._sentences, self._seeds = sentences, np.random.default_rng(seeds)
        self._weights: dict[int, np.ndarray] = {}

    def weights(self, rows: int) -> np.ndarray:
        """How often each resampled test set has each row, shape (samples, rows)."""
        if rows not in self._weights:
            random = np.random.default_rng(self._sentences)
            self._weights[rows] = random.multinomial(rows, np.full(rows, 1 / rows), size=BOOTSTRAP_SAMPLES)
        return self._weights[rows]

    def measure(self, counts: Sequence[np.ndarray], score: Score, subsets: Sequence[np.ndarray]) -> Curve:
        """A line's score on each of ``subsets``; each of these is a place of the curve.

        Args:
            counts: of each seed's model, shape (rows, counts).
            score: of their sums.
            subsets: indices of rows.
        """
        weights = self.weights(len(counts[0]))
        values = [[score(own[rows].sum(axis=0)) for own in counts] for rows in subsets]
        # (places, seeds, samples); weights @ counts sums each resampled test set.
        scores = np.array(
            [[[score(sums) for sums in weights[:, rows] @ own[rows]] for own in counts] for rows in subsets]
        )
        # As many seeds as there are, drawn with replacement for each sample; the same seeds at all places.
        drawn = self._seeds.integers(len(counts), size=(len(counts), BOOTSTRAP_SAMPLES))
        return Curve(values, np.mean(values, axis=1), mean_over_seeds(scores, drawn).T)


def interval(draws: np.ndarray) -> list[float]:
    """The ends of the 95 % percentile interval."""
    return [float(end) for end in np.percentile(draws, ENDS)]


def crossings(places: np.ndarray, differences: np.ndarray) -> list[float]:
    """The places where the line through (places, differences), straight between neighbours, changes its sign.

    If the difference is zero over a stretch and has different signs on its two sides, the crossing is the stretch's
    middle. A line that only touches zero does not cross.

    Args:
        places: ascending, shape (places,).
        differences: at each place, shape (places,).
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
        "differences": at each place "mean" and 95 % "interval".
        "crossings": of each one "at", its place; "share", the share of resampled lines that cross beside it, within the
        axis; "interval", that of their places, where a line that does not counts as one that crosses at the axis's end;
        "clear", whether 95 % intervals of the difference exclude zero on either side of it, with different signs.
    """
    scale, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    along = scale(np.asarray(places, dtype=float))
    means, draws = line.mean - other.mean, line.draws - other.draws
    ends = [interval(each) for each in draws.T]
    sure = np.array([1 if low > 0 else -1 if high < 0 else 0 for low, high in ends])
    found = []
    for at, rising in zip(crossings(along, means), directions(means), strict=False):
        beside = _beside(at, rising, along, draws)
        found.append(
            {
                "at": float(back(at)),
                "share": float(np.mean((beside > along[0]) & (beside < along[-1]))),
                "interval": interval(back(beside)),
                "clear": any(one * other < 0 for one in sure[along < at] for other in sure[along > at]),
            }
        )
    differences = [{"mean": float(mean), "interval": each} for mean, each in zip(means, ends, strict=True)]
    return {"differences": differences, "crossings": found}


def directions(differences: Iterable[float]) -> Iterator[bool]:
    """Whether a line comes from below zero at its first, second, … crossing; it goes on for good."""
    first = next((one for one in differences if one), 0)
    return cycle([first < 0, first >= 0])


def _beside(at: float, rising: bool, along: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Where resampled lines cross beside the crossing ``at`` of their mean, in the same direction, shape (samples,).

    A line that has changed its sign at ``at`` already did so at its last crossing before; any other line will do so at
    its next crossing. Where the axis has no such crossing, its end stands for all places there and beyond. So a
    crossing near an end is not judged by those lines alone that cross before it.
    """
    places = np.full(len(draws), at)
    for number, draw in enumerate(draws):
        here = np.interp(at, along, draw)
        if abs(here) <= ROUNDING * np.abs(draw).max():
            continue  # it crosses here
        own = crossings(along, draw)
        if (here > 0) == rising:
            places[number] = max((one for one in own if one < at), default=along[0])
        else:
            places[number] = min((one for one in own if one > at), default=along[-1])
    return places
