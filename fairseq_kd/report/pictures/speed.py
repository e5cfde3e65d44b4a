"""A picture of BLEU against speed."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from fairseq_kd.report.front import pareto_front, staircase
from fairseq_kd.report.measures import measures
from fairseq_kd.report.pictures.table import COLOURS, MARKERS, as_text, save_picture


def write_speed(table: dict[str, Any], path: str | Path) -> None:
    """Draw BLEU over speed: each row is a line from beam to beam, and a dashed line is the Pareto front.

    Args:
        table: table.json's content.
        path: the PNG file. Where no row has a speed, there is none.
    """
    measure = next((one for one in measures(table) if not one.smaller), None)
    if measure is None:
        Path(path).unlink(missing_ok=True)  # of an earlier table
        return
    drawn = [
        (row, beam) for row in table["rows"] for beam in row["beams"] if beam in measure.values.get(row["name"], {})
    ]
    places = [(measure.values[row["name"]][beam], row["beams"][beam]["bleu"]["mean"]) for row, beam in drawn]
    front = pareto_front(places)
    figure = Figure(figsize=(8, 5))
    axes = figure.add_subplot()
    axes.plot(*zip(*staircase(places, front), strict=True), color="#333333", linestyle="dashed", linewidth=1)
    for number, row in enumerate(table["rows"]):
        style: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKERS[number // len(COLOURS) % len(MARKERS)],
        }
        own = [place for place, (one, _) in enumerate(drawn) if one is row]
        if not own:
            continue
        axes.plot(*zip(*(places[one] for one in own), strict=True), **style, markersize=5, linewidth=1,
                  alpha=0.6, label=as_text(row["name"]))  # fmt: skip
        for one in own:
            beam = drawn[one][1]
            if one in front:
                axes.errorbar(*places[one], yerr=row["beams"][beam]["bleu"]["interval"], **style, markersize=7,
                              markeredgecolor="black", elinewidth=0.7, capsize=2)  # fmt: skip
                # Beyond the front there is no other point.
                axes.annotate(f"{as_text(row['name'])}, beam {beam}", places[one], (6, 4), textcoords="offset points",
                              fontsize=7, rotation=35, rotation_mode="anchor")  # fmt: skip
            else:
                axes.annotate(beam, places[one], (5, 4), textcoords="offset points", fontsize=7, color=style["color"])
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(measure.label)
    axes.set_ylabel("BLEU")
    axes.set_title(as_text(table["title"]))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, fontsize=8, frameon=False)
    save_picture(figure, path)
