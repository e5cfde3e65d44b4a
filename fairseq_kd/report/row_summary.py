"""A table row's figures over the results of its training seeds."""

import statistics
from collections.abc import Sequence
from typing import Any

from fairseq_kd.evaluate.result_shapes import METRICS, MORE_METRICS, OPTIONAL_RATE, RATES, RISKS
from fairseq_kd.report.comparison import Comparison, Pair, pair_results
from fairseq_kd.report.cost_table import summarise_costs
from fairseq_kd.report.result_files import Result, Row, distinct, shortlist_of
from fairseq_kd.report.ways import way_of


def spread(values: Sequence[float]) -> dict[str, Any]:
    """The "mean" of the values, their sample standard deviation "sd" (None for a single value), and the "values"."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": deviation, "values": list(values)}


def summarise_row(row: Row, baseline: Row | None, comparison: Comparison) -> dict[str, Any]:
    """A row's entry in table.json: scores, rates, costs, risks, shortlist and the way of decoding, without any text.

    Args:
        row: the row.
        baseline: the row that it is compared with; None, or the row itself, for no comparison.
        comparison: of the table's test set.
    """
    compared = pair_results(row, baseline) if baseline and row is not baseline else []
    summary = {
        "name": row.name,
        "parameters": row.results[0]["parameters"],
        "seeds": [result["seed"] for result in row.results],
        "beams": {beam: _summarise_beam(row, beam, compared, comparison) for beam in row.results[0]["beams"]},
        **summarise_costs(row.results),
        "way": way_of(row.results[0]),
        "machines": distinct([result["machine"] for result in row.results]),
    }
    if skipped := max(result.get("skipped", 0) for result in row.results):
        summary["skipped"] = skipped
    if limit := shortlist_of(row.results[0]):
        summary["shortlist"] = limit
    forced = [result["teacher_forced"] for result in row.results if result.get("teacher_forced")]
    if all("bleu" in one for one in forced) and len(forced) == len(row.results):
        summary["teacher_forced"] = {"bleu": spread([one["bleu"]["score"] for one in forced])}
    if row.risks:
        summary["risks"] = summarise_risks(row.risks)
        measured = [{key: one[key] for key in ("skipped", "longest") if key in one} for one in row.risks]
        summary["risks_of"] = distinct(measured)
    return summary


def _summarise_beam(row: Row, beam: str, compared: Sequence[Pair], comparison: Comparison) -> dict[str, Any]:
    """Scores and rates with one beam size; against the baseline "delta", "p_values" and "p"."""
    scored = [result["beams"][beam] for result in row.results]
    measured = [metric for metric in (*METRICS, *MORE_METRICS) if all(metric in one for one in scored)]
    figures: dict[str, Any] = {metric: spread([one[metric]["score"] for one in scored]) for metric in measured}
    figures |= {rate: statistics.fmean(one[rate] for one in scored) for rate in RATES}
    if all(OPTIONAL_RATE in one for one in scored):
        figures[OPTIONAL_RATE] = statistics.fmean(one[OPTIONAL_RATE] for one in scored)
    figures["bleu"]["interval"] = statistics.fmean(comparison.resampled(one, beam).interval() for one in row.results)
    return figures | comparison.compare(compared, beam) if compared else figures


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
