"""A diagnosis as Markdown."""

from typing import Any

from fairseq_kd.diagnose.quantities import FACTOR, QUANTITIES, SHARE
from fairseq_kd.report.table_line import table_head, table_line

FIGURES = {
    "parameters": ("teacher's parameters", ",.0f"),
    "student_parameters": ("student's parameters", ",.0f"),
    "size_ratio": (QUANTITIES["size_ratio"].label, ".3f"),
    "token_entropy": (QUANTITIES["token_entropy"].label, ".3f"),
    "teacher_dist": (QUANTITIES["teacher_dist"].label, ".3f"),
    "mode_mass_greedy": ("mode mass, greedy", ".3f"),
    "mode_mass": (QUANTITIES["mode_mass"].label, ".3f"),
    "accuracy": ("teacher-forced accuracy (%)", ".2f"),
    "bleu_greedy": ("BLEU, greedy", ".2f"),
    "bleu_beam": ("BLEU, beam 5", ".2f"),
    "gap": (QUANTITIES["gap"].label, ".2f"),
    "source_length": (QUANTITIES["source_length"].label, ".1f"),
}
LENGTHS = ("source_length_q1", "source_length_median", "source_length_q3")


def markdown(diagnosis: dict[str, Any]) -> str:
    """A diagnosis as text: the quantities, the recommendation with its evidence if there is one, and notes.

    Args:
        diagnosis: as :func:`fairseq_kd.diagnose.diagnose` returns it.
    """
    measured = diagnosis["measured"]
    lines = ["# Diagnosis", "", "| quantity | |", "| --- | ---: |"]
    for name, (label, form) in FIGURES.items():
        lines.append(f"| {label} | {'not measured' if measured[name] is None else format(measured[name], form)} |")
    lines.append(f"| source length, quartiles | {', '.join(format(measured[name], '.0f') for name in LENGTHS)} |")
    if "advice" in diagnosis:
        lines += ["", *_recommendation(diagnosis["advice"])]
    if "shape" in diagnosis:
        lines += ["", *_shape(diagnosis["shape"])]
    return "\n".join([*lines, "", "## Notes", "", *(f"- {note}" for note in _notes(diagnosis))]) + "\n"


def _recommendation(advice: dict[str, Any]) -> list[str]:
    lines = ["## Recommendation", "", f"**{_verdict(advice)}** ({advice['reason']})."]
    method = advice["method"]
    if method:
        lines += [
            "",
            f"Level: {method['level']}. In the study it trains on {method['data']} data with `{method['options']}`",
        ]
    verdicts = {measure: _verdict(one) for measure, one in advice["by_decoding"].items()}
    if len(set(verdicts.values())) > 1:
        lines += ["", *(f"- {measure} alone: {verdict}." for measure, verdict in verdicts.items())]
    if not advice["f_distill"]:
        lines += ["", "f-DISTILL: not known; no study that covers this task has a line for it."]
    lines += ["", "## Evidence", ""]
    lines += _evidence(advice["studies"]) or ["None."]
    return [*lines, "", "## The studies", "", *(_study(one) for one in advice["studies"])]


def _shape(advice: dict[str, Any]) -> list[str]:
    """A student of a wished speed, and the students that no other beats."""
    decoding = "in batches" if advice["batched"] else "one by one"
    shape = advice["shape"]
    verdict = f"{_student(shape)}: {advice['certainty']}" if shape else advice["certainty"]
    lines = [f"## A student that is {advice['speedup']:g} times as fast {decoding}", ""]
    lines.append(f"**{verdict}** ({advice['reason']}).")
    if not advice["front"]:
        return lines
    header = ["student", "engine", "beam", "× teacher", "BLEU lost", "parameters (M)"]
    lines += ["", *table_head(header, words=2)]
    for one in advice["front"]:
        cells = [one["row"], f"{one['engine']}, {one['precision']}", str(one["beam"]), f"{one['times_teacher']:.1f}"]
        lines.append(table_line([*cells, f"{one['loss']:.2f}", f"{one['parameters'] / 1e6:.2f}"]))
    return lines


def _student(shape: dict[str, Any]) -> str:
    search = "greedy search" if shape["beam"] == 1 else f"beam {shape['beam']}"
    return f"{shape['row']}, {search}, {shape['engine']} in {shape['precision']}"


def _verdict(found: dict[str, Any]) -> str:
    return f"{found['line']}: {found['certainty']}" if found["line"] else str(found["certainty"])


def _evidence(studies: list[dict[str, Any]]) -> list[str]:
    rows = []
    for one in studies:
        for item in one["evidence"]:
            place = f"{one['axis']} {item['at']:g}"
            leads = ", ".join(
                f"{lead['mean']:+.2f} ({lead['interval'][0]:+.2f} to {lead['interval'][1]:+.2f}) over {other}"
                for other, lead in item["leads"].items()
            )
            best = f"{item['best']}, {item['scores'][item['best']]:.2f}"
            cells = [place, item["measure"], best, leads, "yes" if item["clear"] else "no"]
            rows.append(table_line(cells))
    header = ["point", "measure", "best", "its lead (95 %)", "clear"]
    return [*table_head(header, words=len(header)), *rows] if rows else []


def _study(one: dict[str, Any]) -> str:
    if one["reason"] is not None:
        return f"- {one['study']}: not known. {one['reason'][0].upper()}{one['reason'][1:]}."
    quantity = QUANTITIES[one["coordinate"]]
    found = {item["at"]: item["value"] for item in one["evidence"]}
    at = " and ".join(f"{quantity.shown(value)} (at {place:g})" for place, value in found.items())
    alone = (
        " Each line has one seed, so the intervals leave out how much training seeds differ."
        if one["seeds"] == 1
        else ""
    )
    return f"- {one['study']}: {quantity.label} {quantity.shown(one['value'])}, its nearest {at}.{alone}"


def _notes(diagnosis: dict[str, Any]) -> list[str]:
    made = diagnosis["signature"]
    samples = made["samples"]
    notes = [
        f"{diagnosis['sentences']} sentences of {diagnosis['subset']!r}, {made['skipped']} of them skipped. BLEU: "
        f"`{made['scores']['bleu']}`. Token entropy on gold prefixes, `</s>` counted; TeacherDist from "
        f"{samples['each']} samples of each source (seed {samples['seed']}).",
    ]
    if "advice" in diagnosis:
        notes += [
            "Clear: the line is the best in all of the evidence, and each 95 % interval of its lead excludes zero. "
            "Leaning: the line loses least on average. Not known: no study covers the task, or several lines are each "
            "clearly best somewhere.",
            "A study covers a task if the task lies among the study's points in the quantity that changes most along "
            f"the axis. In each other quantity it may lie outside the points by a factor of {FACTOR:g}, or by "
            f"{SHARE:.0%} of the scale if that has two ends.",
        ]
    if "shape" in diagnosis:
        notes.append(
            "× teacher: speed over the teacher's with its largest beam, same engine and precision. BLEU lost: against "
            "that teacher. A student is listed if no other is at least as good in both, and better in one."
        )
    return [*notes, f"Commit: {made['commit'] or 'not known'}."]
