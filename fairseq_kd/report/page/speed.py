"""Quality against speed or size: a picture for each measure of them."""

from typing import Any

from bokeh.models import ColumnDataSource

from fairseq_kd.report.front import pareto_front, staircase
from fairseq_kd.report.measures import Measure
from fairseq_kd.report.page.drawing import Picture, new_picture, style


def speed_picture(table: dict[str, Any], measure: Measure) -> Picture:
    """BLEU with 95 % intervals over a measure: each row is a line from beam to beam, with the Pareto front.

    Args:
        table: table.json's content.
        measure: of the horizontal axis, which is logarithmic.
    """
    note = (
        "The dashed line is the Pareto front: no other point is at least as good in both, and better in one. Whiskers "
        "are 95 % intervals."
    )
    picture = new_picture(measure.label, measure.label, "BLEU", note + measure.note, log=True)
    drawn = [
        (number, row, beam)
        for number, row in enumerate(table["rows"])
        for beam in row["beams"]
        if beam in measure.values.get(row["name"], {})
    ]
    places = [(measure.values[row["name"]][beam], row["beams"][beam]["bleu"]["mean"]) for _, row, beam in drawn]
    front = pareto_front(places, smaller=measure.smaller)
    corners = staircase(places, front, smaller=measure.smaller)
    picture.figure.line(
        [x for x, _ in corners], [y for _, y in corners], line_dash="dashed", line_color="#333333", line_width=1.2
    )
    points = []
    for number in range(len(table["rows"])):
        own = [place for place, (one, _, _) in enumerate(drawn) if one == number]
        if own:
            points.append(_draw_row(picture, number, [(drawn[one], places[one], one in front) for one in own]))
    lines = [("", "@name"), ("beam", "@beam"), ("BLEU", "@bleu"), (measure.label.partition(",")[0], "@x{0,0.[00]}")]
    picture.hover(points, [*lines, ("parameters", "@size"), ("on the Pareto front", "@front")])
    return picture


def _draw_row(picture: Picture, number: int, found: list[tuple[Any, tuple[float, float], bool]]) -> Any:
    """Draw one row's line, whiskers and points; returns the points' renderer."""
    colour, marker, dash = style(number)
    rows: list[dict[str, Any]] = []
    for (_, row, beam), (x, y), on_front in found:
        interval = row["beams"][beam]["bleu"].get("interval", 0.0)
        rows.append({
            "name": row["name"], "beam": beam, "x": x, "y": y, "low": y - interval, "high": y + interval,
            "bleu": f"{y:.2f} ± {interval:.2f}", "size": f"{row['parameters'] / 1e6:.2f} M",
            "front": "yes" if on_front else "no", "line": 2.5 if on_front else 1.0,
            "edge": "#000000" if on_front else colour,
        })  # fmt: skip
    source = ColumnDataSource({key: [one[key] for one in rows] for key in rows[0]})
    figure = picture.figure
    line = figure.line("x", "y", source=source, line_color=colour, line_dash=dash, line_width=1.5)
    whiskers = figure.segment("x", "low", "x", "high", source=source, line_color=colour, line_width=1, line_alpha=0.5)
    points = figure.scatter(
        "x", "y", source=source, marker=marker, size=11, fill_color=colour, line_color="edge", line_width="line"
    )
    picture.enter(found[0][0][1]["name"], number, [line, whiskers, points])
    return points
