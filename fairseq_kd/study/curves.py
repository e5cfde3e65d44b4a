"""Scores with bootstrap intervals as curves: over a study's axis, and over the source's length."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from fairseq_kd.report.result_files import Result
from fairseq_kd.study.points import Point
from fairseq_kd.study.resampling import (
    Curve,
    Resampler,
    Score,
    accuracy,
    bleu,
    bleu_statistics,
    compare,
    interval,
)

BUCKETS = 4
FORCED_BLEU = "teacher_forced_bleu"
"""The key of the teacher-forced BLEU among the measures."""
Curves = dict[str, dict[str, Curve]]
"""The curve of each line, by measure and by the line's name."""


def measures_of(points: Sequence[Point]) -> dict[str, str]:
    """The labels of the measures that all results have, by key: teacher-forced accuracy and BLEU, then BLEU by beam.

    Results of an earlier `fairseq-kd evaluate` have no teacher-forced BLEU.
    """
    forced = [result["teacher_forced"] for point in points for result in point.results]
    measures = {"teacher_forced": "teacher-forced accuracy (%)"} if all(forced) else {}
    if all(one and "hypotheses" in one for one in forced):
        measures[FORCED_BLEU] = "BLEU, teacher-forced"
    for beam in points[0].first["beams"]:
        measures[f"beam {beam}"] = "BLEU, greedy" if beam == "1" else f"BLEU, beam {beam}"
    return measures


def statistics(result: Result, measure: str) -> tuple[np.ndarray, Score]:
    """Each sentence's counts for a measure, shape (sentences, counts), and the score of the counts' sums."""
    if measure == "teacher_forced":
        return np.array([result["teacher_forced"][key] for key in ("correct", "tokens")]).T, accuracy
    made = result["teacher_forced"] if measure == FORCED_BLEU else result["beams"][measure.removeprefix("beam ")]
    how = [result[key] for key in ("references", "tokenize", "more_references", "lowercase")]
    return bleu_statistics(made["hypotheses"], *how), bleu


def length_buckets(lengths: Sequence[int]) -> list[np.ndarray]:
    """Row numbers in at most ``BUCKETS`` buckets of similar size, by length; rows of one length share a bucket."""
    sizes = np.asarray(lengths)
    ends = np.unique(np.quantile(sizes, np.arange(1, BUCKETS + 1) / BUCKETS, method="higher"))
    found = np.searchsorted(ends, sizes)
    return [np.flatnonzero(found == number) for number in range(len(ends))]


def measure_point(point: Point, names: Sequence[str], measures: Sequence[str], resampler: Resampler) -> Curves:
    """A point's curves: their first place is the whole test set, the other places are its buckets by length."""
    lengths = point.first["source_lengths"]
    subsets = [np.arange(len(lengths)), *length_buckets(lengths)]
    rows = {row.name: row for row in point.rows}
    curves: Curves = {measure: {} for measure in measures}
    for measure in measures:
        for name in names:
            figures, scores = zip(*(statistics(result, measure) for result in rows[name].results), strict=True)
            curves[measure][name] = resampler.measure(figures, scores[0], subsets)
    return curves


def series(places: Sequence[float], curves: Curves, teacher: str | None, logarithmic: bool = False) -> dict[str, Any]:
    """Curves over one axis, in study.json's form.

    Args:
        places: where the axis has scores.
        curves: of each measure and line.
        teacher: name of the line that is compared with no other; None for no such line.
        logarithmic: whether lines are straight between the logarithms of places.

    Returns:
        "places"; "scores", with intervals, by measure and line; "comparisons", by measure, of each two lines.
    """
    scores, comparisons = {}, {}
    for measure, lines in curves.items():
        scores[measure] = {
            name: [
                {"mean": float(mean), "interval": interval(draws), "values": values}
                for mean, draws, values in zip(curve.mean, curve.draws.T, curve.values, strict=True)
            ]
            for name, curve in lines.items()
        }
        comparisons[measure] = [
            {"line": line, "other": other, **compare(places, lines[line], lines[other], logarithmic)}
            for other, line in combinations([name for name in lines if name != teacher], 2)
        ]
    return {"places": list(places), "scores": scores, "comparisons": comparisons}


def by_length(point: Point, measured: Curves, teacher: str | None) -> dict[str, Any]:
    """A point's curves over source length, in study.json's form; a bucket's place is its mean length."""
    lengths = point.first["source_lengths"]
    own = [np.asarray(lengths)[rows] for rows in length_buckets(lengths)]
    buckets = [{"shortest": int(one.min()), "longest": int(one.max()), "sentences": len(one)} for one in own]
    curves = {
        measure: {name: curve.part(slice(1, None)) for name, curve in lines.items()}
        for measure, lines in measured.items()
    }
    return {"at": point.at, "buckets": buckets, **series([float(one.mean()) for one in own], curves, teacher)}
