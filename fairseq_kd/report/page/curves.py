"""Pictures of gates, risks and studies."""

from collections.abc import Sequence
from typing import Any

from bokeh.models import ColumnDataSource, Range1d

from fairseq_kd.report.crossings import span_in_words
from fairseq_kd.report.named_teacher import other_teacher
from fairseq_kd.report.page.drawing import Picture, new_picture, style
from fairseq_kd.report.pictures.gates import gated_rows
from fairseq_kd.report.ways import risks_notes


def gate_pictures(table: dict[str, Any]) -> list[Picture]:
    """Each gate over the updates within one standard deviation, and the validation BLEU of the same trainings.

    Args:
        table: table.json's content.

    Returns:
        No picture if no row has a gate in a training log.
    """
    rows = gated_rows(table)
    if not rows:
        return []
    note = "g is the share of the token-level loss. The band is one standard deviation; each seed has a line."
    gates = new_picture("the gate g", "updates", "g: mean within a band of one standard deviation", note)
    gates.figure.y_range = Range1d(start=-0.02, end=1.02)
    scores = new_picture("validation BLEU", "updates", "validation BLEU", "Each training seed has a line.")
    for number, row in enumerate(rows):
        for training in row["training"]:
            seed = str(training.get("seed"))
            course = training.get("gate", {}).get("course", {})
            if {"mean", "spread"} <= course.keys():
                low, high = (
                    [mean + sign * spread for mean, spread in zip(course["mean"], course["spread"], strict=True)]
                    for sign in (-1, 1)
                )
                _draw_line(gates, number, row["name"], (course["updates"], course["mean"], low, high), seed)
            found = training.get("validation", {})
            if "bleu" in found:
                _draw_line(scores, number, row["name"], (found["updates"], found["bleu"], None, None), seed)
    pictures = [one for one in (gates, scores) if one.legend]
    for picture in pictures:
        _hover_lines(picture, "updates", "@x{0,0}")
    return pictures


def risk_picture(table: dict[str, Any]) -> Picture | None:
    """Likelihood against coverage risk with 95 % intervals; None if no row has risks."""
    rows = [row for row in table["rows"] if "risks" in row]
    if not rows:
        return None
    teacher = (table["signature"].get("risks") or {}).get("teacher")
    note = "Nats a sentence, lower is better; lines are 95 % bootstrap intervals."
    note += other_teacher(table, teacher and [teacher]) + "".join(f" {one}" for one in risks_notes(table))
    picture = new_picture("risks", "likelihood risk R_llh", "coverage risk R_cvg", note)
    points = []
    for number, row in enumerate(rows):
        sides = [row["risks"][name] for name in ("likelihood", "coverage")]
        (x_low, x_high), (y_low, y_high) = (side["interval"] for side in sides)
        x, y = (side["mean"] for side in sides)
        texts = [f"{side['mean']:.2f} ({side['interval'][0]:.2f} to {side['interval'][1]:.2f})" for side in sides]
        source = ColumnDataSource({"x": [x], "y": [y], "name": [row["name"]], "llh": [texts[0]], "cvg": [texts[1]]})
        colour, marker, _ = style(number)
        figure = picture.figure
        bars = figure.segment([x_low, x], [y, y_low], [x_high, x], [y, y_high], line_color=colour, line_alpha=0.6)
        marker = "star" if row["name"] == table["teacher"] else marker
        point = figure.scatter("x", "y", source=source, marker=marker, size=12, fill_color=colour, line_color=colour)
        picture.enter(row["name"], number, [bars, point])
        points.append(point)
    picture.hover(points, [("", "@name"), ("R_llh", "@llh"), ("R_cvg", "@cvg")])
    return picture


def study_pictures(study: dict[str, Any]) -> list[Picture]:
    """A picture of each measure over the study's axis, and of each at every place over the source's length.

    Args:
        study: study.json's content.
    """
    axis, made = study["axis"], []
    log = axis.get("scale") == "log" and min(study["over_axis"]["places"]) > 0
    for measure, label in study["measures"].items():
        picture = _over(study, study["over_axis"], measure, (label, axis["label"]), log)
        made += [picture] if picture else []
    for at, lengths in zip(study["over_axis"]["places"], study.get("over_lengths", ()), strict=False):
        for measure, label in study["measures"].items():
            name = f"{label}, by source length at {axis['label']} {at:g}"
            picture = _over(study, lengths, measure, (name, "source length (subwords)"), False)
            made += [picture] if picture else []
    return made


def _over(
    study: dict[str, Any], over: dict[str, Any], measure: str, labels: tuple[str, str], log: bool
) -> Picture | None:
    """The lines of one measure; None if there are none."""
    lines = over["scores"].get(measure, {})
    if not lines or not over["places"]:
        return None
    label, x = labels
    picture = new_picture(label, x, study["measures"][measure], _crossings(over, measure, x), log=log)
    for number, (name, scores) in enumerate(lines.items()):
        low, high = ([score["interval"][side] for score in scores] for side in (0, 1))
        _draw_line(picture, number, name, (over["places"], [one["mean"] for one in scores], low, high), "")
    _hover_lines(picture, x, "@x{0,0.[00]}")
    return picture


def _crossings(over: dict[str, Any], measure: str, axis: str) -> str:
    """Where lines cross, in words."""
    found = [
        f"{pair['line']} and {pair['other']} cross at {one['at']:.3g} ({_span(one['interval'], over['places'])}"
        f"in {one['share']:.0%} of resamples)"
        for pair in over["comparisons"].get(measure, ())
        for one in pair.get("crossings", ())
    ]
    words = f"Crossings along {axis}: {'; '.join(found)}." if found else "No two lines cross."
    return f"Bands are 95 % intervals. {words}"


def _span(interval: Sequence[float] | None, places: Sequence[float]) -> str:
    """The interval of a crossing in words; no words where a study of an earlier version has none."""
    return f"95 % interval {span_in_words(interval, places)}, " if interval else ""


def _draw_line(picture: Picture, number: int, name: str, course: Sequence[Any], seed: str) -> None:
    """Draw a line of points within a band; ``course`` is places, means, and the band's ends or None."""
    x, y, low, high = course
    colour, marker, dash = style(number)
    texts = [f"{mean:.3g}" if low is None else f"{mean:.4g} ({a:.4g} to {b:.4g})"
             for mean, a, b in zip(y, low or y, high or y, strict=True)]  # fmt: skip
    source = ColumnDataSource({"x": list(x), "y": list(y), "name": [name] * len(y), "text": texts})
    source.add([seed] * len(y), "seed")
    figure, drawn = picture.figure, []
    if low is not None:
        drawn.append(figure.varea(x=list(x), y1=list(low), y2=list(high), fill_color=colour, fill_alpha=0.12))
    drawn.append(figure.line("x", "y", source=source, line_color=colour, line_dash=dash, line_width=2))
    drawn.append(figure.scatter("x", "y", source=source, marker=marker, size=5, color=colour, name="points"))
    picture.enter(name, number, drawn)


def _hover_lines(picture: Picture, label: str, x: str) -> None:
    points = [one for one in picture.figure.renderers if one.name == "points"]
    seeded = any(one.data_source.data["seed"][:1] not in ([], [""], ["None"]) for one in points)
    lines = [("", "@name"), (label, x), ("value", "@text")]
    picture.hover(points, [*lines, ("seed", "@seed")] if seeded else lines)
