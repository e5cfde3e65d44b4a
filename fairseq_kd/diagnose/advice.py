"""From studies and a task's quantities to one recommendation: which way of distilling, on what evidence, how sure.

A study speaks for a task that lies among its points in the quantity that changes along its axis and is like them in all
others. What its two nearest points show, in greedy search and with the widest beam, is the evidence.
"""

import argparse
import shlex
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from fairseq_kd.diagnose.quantities import QUANTITIES, Values, common, coordinate, is_unlike
from fairseq_kd.report.result_files import read_result
from fairseq_kd.storage.files import file_hash

CLEAR, LEANING, NOT_KNOWN = "clear", "leaning", "not known"
LEVELS = {"token_kd": "token-level", "hybrid_kd": "hybrid", "pre_distill": "pre-distillation"}
F_DISTILL = "f-DISTILL"
Study = dict[str, Any]


def read_studies(paths: Iterable[str]) -> list[Study]:
    """What `fairseq-kd study` wrote, with each file's "sha256".

    Raises:
        UserError: a file is missing or no such file.
    """
    return [{**read_result(path, "study", _check_study), "sha256": file_hash(path)} for path in paths]


def _check_study(study: Study) -> None:
    """Raise an error unless ``study`` is what `fairseq-kd study` writes."""
    axis, places = study["over_axis"], len(study["points"])
    complete = {"title", "teacher"} <= study.keys() and "label" in study["axis"] and _decodings(study)
    if not complete or not places or len(axis["places"]) != places:
        raise KeyError
    for point in study["points"]:
        if not set(_lines(study)) <= point["seeds"].keys():
            raise KeyError
    for measure in _decodings(study):
        for scores in axis["scores"][measure].values():
            if len([one["mean"] for one in scores]) != places:
                raise ValueError
        for pair in axis["comparisons"][measure]:
            if not {"line", "other"} <= pair.keys() or len([one["interval"] for one in pair["differences"]]) != places:
                raise ValueError


def _decodings(study: Study) -> list[str]:
    """The measures of the narrowest and the widest beam."""
    beams = sorted((name for name in study["measures"] if name.startswith("beam ")), key=lambda name: int(name[5:]))
    return list(dict.fromkeys([*beams[:1], *beams[-1:]]))


def advise(studies: Sequence[Study], own: Values) -> dict[str, Any]:
    """One recommendation, the same by decoding procedure alone, and what each study says.

    Args:
        studies: as :func:`read_studies` gives them.
        own: the task's quantities.
    """
    told = [assess(study, own) for study in studies]
    measures = dict.fromkeys(item["measure"] for one in told for item in one["evidence"])
    speaking = [study for study, one in zip(studies, told, strict=True) if one["evidence"]]
    methods = {name: method for study in reversed(speaking) for name, method in study.get("methods", {}).items()}
    recommendation = combine(told)
    method = methods.get(recommendation["line"])
    return {
        **recommendation,
        "method": method and {"level": level(method), **method},
        "by_decoding": {measure: combine(told, measure) for measure in measures},
        "f_distill": sorted(name for name, one in methods.items() if level(one).startswith(F_DISTILL)),
        "studies": told,
    }


def assess(study: Study, own: Values) -> dict[str, Any]:
    """What one study says of a task: its "evidence", or the "reason" why it has none."""
    told: dict[str, Any] = {"study": study["title"], "axis": study["axis"]["label"], "sha256": study["sha256"]}
    told |= {"coordinate": None, "value": None, "range": None, "not_measured": [], "evidence": []}
    seeds = [len(point["seeds"][name]) for point in study["points"] for name in _lines(study)]
    told["seeds"] = min(seeds, default=0)
    points = [point.get("diagnosis") for point in study["points"]]
    if None in points:
        return {**told, "reason": "its points are not diagnosed; run it again"}
    values = common(points)
    name = coordinate(values)
    value = None if name is None else own[name]
    if name is not None:
        told |= {"coordinate": name, "value": value, "range": [min(values[name]), max(values[name])]}
    told["not_measured"] = [other for other in values if own[other] is None]
    told["reason"] = _reason(study, values, name, own)
    if name is not None and value is not None and told["reason"] is None:
        told["evidence"] = [
            {"at": study["points"][place]["at"], "value": values[name][place], **_evidence(study, measure, place)}
            for place in _nearest(values[name], value)
            for measure in _decodings(study)
        ]
    return told


def _reason(study: Study, values: dict[str, list[float]], name: str | None, own: Values) -> str | None:
    """Why a study says nothing of a task, or None."""
    if len(_lines(study)) < 2:
        return "it has one line alone"
    if name is None:
        return "no measured quantity rises or falls all along its axis by more than tasks that are alike differ by"
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
    return f"made for other tasks: {'; '.join(far)}" if far else None


def _both(name: str, value: float, values: Sequence[float]) -> str:
    quantity = QUANTITIES[name]
    low, high = (quantity.shown(end) for end in (min(values), max(values)))
    return f"{quantity.label} {quantity.shown(value)} here, {low if low == high else f'{low} to {high}'} there"


def _lines(study: Study) -> list[str]:
    scores = study["over_axis"]["scores"][_decodings(study)[0]]
    return [name for name in scores if name != study["teacher"]]


def _nearest(values: Sequence[float], value: float) -> list[int]:
    """The place of ``value`` among ``values``, or those of its two neighbours."""
    if value in values:
        return [values.index(value)]
    below = max(one for one in values if one < value)
    above = min(one for one in values if one > value)
    return sorted([values.index(below), values.index(above)])


def _evidence(study: Study, measure: str, place: int) -> dict[str, Any]:
    """Which line is best at a place, by how much, and whether its lead over each other leaves out zero."""
    axis = study["over_axis"]
    scores = {name: axis["scores"][measure][name][place]["mean"] for name in _lines(study)}
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


def combine(told: Sequence[dict[str, Any]], measure: str | None = None) -> dict[str, Any]:
    """The line that loses least against the best one, the mean over the studies that hold it, and how sure that is.

    Clear: everywhere the best, its lead over each other clear. Not known: nothing to go by, or several lines are each
    clearly the best somewhere. Leaning: all else.

    Args:
        told: what :func:`assess` gave of each study.
        measure: of which the evidence counts alone.
    """
    studies = [[item for item in one["evidence"] if measure in (None, item["measure"])] for one in told]
    items = [item for evidence in studies for item in evidence]
    if not items:
        reason = "no study covers this task" if told else "no study"
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
    doubts = _doubts(line, items, {name for one in told if one["evidence"] for name in one["not_measured"]})
    agreed = f"the best, clearly, in all {len(items)} comparisons"
    return {"line": line, "certainty": LEANING if doubts else CLEAR, "reason": "; ".join(doubts) or agreed}


def _losses(studies: Sequence[Sequence[dict[str, Any]]]) -> dict[str, float]:
    """How far each line is below the best one, in points: over a study's evidence, then over the studies."""
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
    """What a line of an experiment learns from, of the data that it is trained on and its options of fairseq-train."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--criterion", "--divergence"):
        parser.add_argument(option)
    found = parser.parse_known_args(shlex.split(method["options"]))[0]
    if found.criterion == "f_distill":
        return f"{F_DISTILL}, {found.divergence}" if found.divergence else F_DISTILL
    parts = ["sentence-level"] if method["data"] != "gold" else []
    parts += [LEVELS[found.criterion]] if found.criterion in LEVELS else []
    return " and ".join(parts) or "no distillation"
