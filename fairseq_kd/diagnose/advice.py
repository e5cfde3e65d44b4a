"""One recommendation from studies and a task's quantities: which method, on what evidence, and how sure it is.

A study covers a task if the task lies among the study's points in the quantity that changes along the axis, and is
similar to them in all other quantities. The evidence is the scores of the two nearest points, in greedy search and with
the widest beam.
"""

import argparse
import shlex
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from fairseq_kd.diagnose.quantities import QUANTITIES, Values, common, coordinate, is_unlike
from fairseq_kd.diagnose.study_files import Study, decodings, lines

CLEAR, LEANING, NOT_KNOWN = "clear", "leaning", "not known"
LEVELS = {"token_kd": "token-level", "hybrid_kd": "hybrid", "pre_distill": "pre-distillation"}
F_DISTILL = "f-DISTILL"


def advise(studies: Sequence[Study], own: Values) -> dict[str, Any]:
    """What studies recommend for a task.

    Args:
        studies: as :func:`read_studies` gives them.
        own: the task's quantities.

    Returns:
        "line", "certainty" and "reason" as in :func:`combine`; "method", the level, data and options of that line, or
        None; "by_decoding", the recommendation from each decoding procedure alone; "f_distill", the lines that train
        with f_distill; "studies", what :func:`assess` finds in each study.
    """
    findings = [assess(study, own) for study in studies]
    measures = dict.fromkeys(item["measure"] for one in findings for item in one["evidence"])
    speaking = [study for study, one in zip(studies, findings, strict=True) if one["evidence"]]
    methods = {name: method for study in reversed(speaking) for name, method in study.get("methods", {}).items()}
    recommendation = combine(findings)
    method = methods.get(recommendation["line"])
    return {
        **recommendation,
        "method": method and {"level": level(method), **method},
        "by_decoding": {measure: combine(findings, measure) for measure in measures},
        "f_distill": sorted(name for name, one in methods.items() if level(one).startswith(F_DISTILL)),
        "studies": findings,
    }


def assess(study: Study, own: Values) -> dict[str, Any]:
    """One study's "evidence" for a task, or the "reason" why it has none."""
    finding: dict[str, Any] = {"study": study["title"], "axis": study["axis"]["label"], "sha256": study["sha256"]}
    finding |= {"coordinate": None, "value": None, "range": None, "not_measured": [], "evidence": []}
    seeds = [len(point["seeds"][name]) for point in study["points"] for name in lines(study)]
    finding["seeds"] = min(seeds, default=0)
    points = [point.get("diagnosis") for point in study["points"]]
    if None in points:
        return {**finding, "reason": "its points have no diagnoses; run fairseq-kd study again with --diagnosis"}
    values = common(points)
    name = coordinate(values)
    value = None if name is None else own[name]
    if name is not None:
        finding |= {"coordinate": name, "value": value, "range": [min(values[name]), max(values[name])]}
    finding["not_measured"] = [other for other in values if own[other] is None]
    finding["reason"] = _reason(study, values, name, own)
    if name is not None and value is not None and finding["reason"] is None:
        finding["evidence"] = [
            {"at": study["points"][place]["at"], "value": values[name][place], **_evidence(study, measure, place)}
            for place in _nearest(values[name], value)
            for measure in decodings(study)
        ]
    return finding


def _reason(study: Study, values: dict[str, list[float]], name: str | None, own: Values) -> str | None:
    """Why a study has no evidence for a task, or None if it has."""
    if len(lines(study)) < 2:
        return "it has only one line"
    if name is None:
        return "no measured quantity rises or falls all along its axis by more than similar tasks differ"
    value, low, high = own[name], min(values[name]), max(values[name])
    if value is None:
        return f"{QUANTITIES[name].label}: not measured{', give --student' if name == 'size_ratio' else ''}"
    if not low <= value <= high:
        return f"outside the studied range: {_both(name, value, values[name])}"
    far = [
        _both(other, one, values[other])
        for other in values
        if other != name and (one := own[other]) is not None and is_unlike(other, one, values[other])
    ]
    return f"made for different tasks: {'; '.join(far)}" if far else None


def _both(name: str, value: float, values: Sequence[float]) -> str:
    quantity = QUANTITIES[name]
    low, high = (quantity.shown(end) for end in (min(values), max(values)))
    return f"{quantity.label} {quantity.shown(value)} here, {low if low == high else f'{low} to {high}'} there"


def _nearest(values: Sequence[float], value: float) -> list[int]:
    """The place of ``value`` among ``values``, or those of its two neighbours."""
    if value in values:
        return [values.index(value)]
    below = max(one for one in values if one < value)
    above = min(one for one in values if one > value)
    return sorted([values.index(below), values.index(above)])


def _evidence(study: Study, measure: str, place: int) -> dict[str, Any]:
    """The best line at a place, its leads over the other lines, and whether each lead's interval excludes zero."""
    axis = study["over_axis"]
    scores = {name: axis["scores"][measure][name][place]["mean"] for name in lines(study)}
    best = max(scores, key=lambda name: scores[name])
    leads = {}
    for pair in axis["comparisons"][measure]:
        found = pair["differences"][place]
        if pair["line"] == best:
            leads[pair["other"]] = {"mean": found["mean"], "interval": list(found["interval"])}
        elif pair["other"] == best:
            leads[pair["line"]] = {"mean": 0 - found["mean"], "interval": [0 - end for end in found["interval"][::-1]]}
    clear = all(lead["interval"][0] > 0 for lead in leads.values())
    return {"measure": study["measures"][measure], "scores": scores, "best": best, "leads": leads, "clear": clear}


def combine(findings: Sequence[dict[str, Any]], measure: str | None = None) -> dict[str, Any]:
    """The line that loses least against the best one, in the mean over the studies that have it.

    Args:
        findings: what :func:`assess` gave for each study.
        measure: the only measure whose evidence counts; None for all measures.

    Returns:
        "line", "reason" and "certainty". Clear: the line is the best in all comparisons, and each lead is clear. Not
        known: there is no evidence, or several lines are each clearly best somewhere. Leaning: in all other cases.
    """
    studies = [[item for item in one["evidence"] if measure in (None, item["measure"])] for one in findings]
    items = [item for evidence in studies for item in evidence]
    if not items:
        reason = "no study covers this task" if findings else "no study"
        return {"line": None, "certainty": NOT_KNOWN, "reason": reason}
    surely = sorted({item["best"] for item in items if item["clear"]})
    if len(surely) > 1:
        return {
            "line": None,
            "certainty": NOT_KNOWN,
            "reason": f"{' and '.join(surely)} are each clearly best somewhere",
        }
    losses = _losses([evidence for evidence in studies if evidence])
    line = min(losses, key=lambda name: losses[name])
    doubts = _doubts(line, items, {name for one in findings if one["evidence"] for name in one["not_measured"]})
    agreed = f"clearly the best in all {len(items)} comparisons"
    return {"line": line, "certainty": LEANING if doubts else CLEAR, "reason": "; ".join(doubts) or agreed}


def _losses(studies: Sequence[Sequence[dict[str, Any]]]) -> dict[str, float]:
    """How many points each line is below the best one: the mean over a study's evidence, then over the studies."""
    found: dict[str, list[float]] = {}
    for items in studies:
        for name in items[0]["scores"]:
            lost = [item["scores"][item["best"]] - item["scores"][name] for item in items]
            found.setdefault(name, []).append(statistics.fmean(lost))
    return {name: statistics.fmean(each) for name, each in found.items()}


def _doubts(line: str, items: Sequence[dict[str, Any]], not_measured: Iterable[str]) -> list[str]:
    best = [item for item in items if item["best"] == line]
    others = sorted({item["best"] for item in items} - {line})
    doubts = []
    if others:
        doubts.append(f"the best in {len(best)} of {len(items)} comparisons, {' or '.join(others)} in the others")
    near = sorted({other for item in items for other, lead in item["leads"].items() if lead["interval"][0] <= 0})
    if near:
        clear = sum(item["clear"] for item in items)
        doubts.append(
            f"the lead of the best is clear in {clear} of {len(items)}, elsewhere not over {' or '.join(near)}"
        )
    labels = sorted(QUANTITIES[name].label for name in not_measured)
    return doubts + ([f"not measured here: {', '.join(labels)}"] if labels else [])


def level(method: dict[str, Any]) -> str:
    """What a line of an experiment learns from, read off its training data and its options for fairseq-train."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--criterion", "--divergence"):
        parser.add_argument(option)
    found = parser.parse_known_args(shlex.split(method["options"]))[0]
    if found.criterion == "f_distill":
        return f"{F_DISTILL}, {found.divergence}" if found.divergence else F_DISTILL
    parallel = {"gold", *method.get("texts", ())}
    parts = [] if parallel.issuperset(method["data"].split("+")) else ["sentence-level"]
    parts += [LEVELS[found.criterion]] if found.criterion in LEVELS else []
    return " and ".join(parts) or "no distillation"
