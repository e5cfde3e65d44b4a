"""A table row's figures over the results of its training seeds."""

import statistics
from collections.abc import Sequence
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scores import confidence_interval, p_value
from fairseq_kd.report.cost_table import summarise_costs
from fairseq_kd.report.result_files import METRICS, OPTIONAL_RATE, RATES, RISKS, Result, Row

Pair = tuple[Result, Result]
"""A row's result, and the baseline's result that it is compared with."""


def spread(values: Sequence[float]) -> dict[str, Any]:
    """The "mean" of the values, their sample standard deviation "sd" (None for a single value), and the "values"."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": deviation, "values": list(values)}


def pair_results(row: Row, baseline: Row) -> list[Pair]:
    """The results to compare: those of equal seeds, or all pairs if one of the two rows has a single result.

    Raises:
        UserError: both rows have several results, and the baseline lacks one of the row's seeds.
    """
    if len(row.results) == 1 or len(baseline.results) == 1:
        return [(result, other) for result in row.results for other in baseline.results]
    by_seed = {other["seed"]: other for other in baseline.results}
    for result in row.results:
        if result["seed"] not in by_seed:
            raise UserError(
                f"{row.name!r} has seed {result['seed']}, but the baseline {baseline.name!r} does not; evaluate the "
                "baseline with that seed too"
            )
    return [(result, by_seed[result["seed"]]) for result in row.results]


def summarise_row(row: Row, baseline: Row | None) -> dict[str, Any]:
    """A row's entry in table.json: scores, rates, costs and risks, without any text.

    Args:
        row: the row.
        baseline: the row that it is compared with; None, or the row itself, for no comparison.

    Raises:
        UserError: as :func:`pair_results`.
    """
    compared = pair_results(row, baseline) if baseline and row is not baseline else []
    summary = {
        "name": row.name,
        "parameters": row.results[0]["parameters"],
        "seeds": [result["seed"] for result in row.results],
        "beams": {beam: _summarise_beam(row, beam, compared) for beam in row.results[0]["beams"]},
        **summarise_costs(row.results),
    }
    return {**summary, "risks": summarise_risks(row.risks)} if row.risks else summary


def _summarise_beam(row: Row, beam: str, compared: Sequence[Pair]) -> dict[str, Any]:
    """Scores and rates with one beam size; against the baseline "delta", "p_values" and the largest of these, "p"."""
    scored = [result["beams"][beam] for result in row.results]
    figures: dict[str, Any] = {metric: spread([one[metric]["score"] for one in scored]) for metric in METRICS}
    figures |= {rate: statistics.fmean(one[rate] for one in scored) for rate in RATES}
    if all(OPTIONAL_RATE in one for one in scored):
        figures[OPTIONAL_RATE] = statistics.fmean(one[OPTIONAL_RATE] for one in scored)
    references = row.results[0]["references"]
    intervals = [confidence_interval(one["hypotheses"], references) for one in scored]
    figures["bleu"]["interval"] = statistics.fmean(intervals)
    if compared:
        pairs = [(result["beams"][beam], other["beams"][beam]) for result, other in compared]
        deltas = [one["bleu"]["score"] - other["bleu"]["score"] for one, other in pairs]
        p_values = [p_value(one["hypotheses"], other["hypotheses"], references) for one, other in pairs]
        figures |= {"delta": statistics.fmean(deltas), "p": max(p_values), "p_values": p_values}
    return figures


def summarise_risks(found: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Each risk over a row's results; an interval's ends are the means of the results' ends."""
    figures = {name: [one["risks"][name] for one in found] for name in RISKS}
    return {
        name: {
            **spread([figure["mean"] for figure in each]),
            "interval": [statistics.fmean(ends) for ends in zip(*(figure["interval"] for figure in each), strict=True)],
        }
        for name, each in figures.items()
    }
