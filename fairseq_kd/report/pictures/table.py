"""The table as pictures: BLEU, and the two risks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fairseq_kd.storage.files import whole_file

# Okabe and Ito's colours: people with colour blindness can tell them apart, and so can a print in grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS = "osD^vPX"
GROUP = 0.8  # of a row's height; the gap between rows takes the remainder


def as_text(name: str) -> str:
    """A name or title that matplotlib shows as it is.

    Between two dollar signs it would read a formula, and a legend leaves out a name that begins with ``_``.
    """
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def save_picture(figure: Figure, path: str | Path) -> None:
    """Write a picture to the PNG file ``path``, whole or not at all."""
    with whole_file(path, "wb") as handle:
        figure.savefig(handle, format="png", dpi=150, bbox_inches="tight")


def write_plot(table: dict[str, Any], path: str | Path) -> None:
    """Draw BLEU with 95 % intervals: a group of horizontal bars for each row, a bar for each beam.

    Args:
        table: table.json's content.
        path: the PNG file.
    """
    rows, beams = table["rows"], list(table["rows"][0]["beams"])
    figure = Figure(figsize=(8, 1.6 + 0.28 * len(rows) * (len(beams) + 0.6)))
    axes = figure.add_subplot()
    height = GROUP / len(beams)
    ends = [0.0]
    for number, beam in enumerate(beams):
        bleu = [row["beams"][beam]["bleu"] for row in rows]
        positions = [place - GROUP / 2 + (number + 0.5) * height for place in range(len(rows))]
        axes.barh(
            positions, [one["mean"] for one in bleu], height * 0.92,
            xerr=[one["interval"] for one in bleu], color=COLOURS[number % len(COLOURS)],
            error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#333333"},
            label=f"beam {beam}" + (" (greedy)" if beam == "1" else ""),
        )  # fmt: skip
        for position, one in zip(positions, bleu, strict=True):
            ends.append(one["mean"] + one["interval"])
            axes.annotate(
                f"{one['mean']:.1f}", (ends[-1], position), (4, 0), textcoords="offset points", va="center", fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},  # over a dashed line
            )  # fmt: skip
    axes.set_xlim(0, max(ends) * 1.1)
    axes.set_yticks(range(len(rows)), [as_text(row["name"]) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("BLEU with 95 % bootstrap intervals")
    axes.set_title(as_text(table["title"]))
    axes.spines[["top", "right"]].set_visible(False)
    reference_lines(axes.axvline, table, beams[-1])
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.6 / figure.get_figheight()), ncols=4, fontsize=8, frameon=False
    )
    save_picture(figure, path)


def reference_lines(line: Callable[..., Any], table: dict[str, Any], beam: str) -> None:
    """Draw dashed lines at the BLEU of the teacher and of the baseline.

    Args:
        line: an axes' ``axvline`` or ``axhline``.
        table: table.json's content.
        beam: the beam size of these scores.
    """
    scores = {row["name"]: row["beams"][beam]["bleu"]["mean"] for row in table["rows"]}
    for role, style, colour in (("teacher", (0, (6, 3)), "#000000"), ("baseline", (0, (2, 2)), "#777777")):
        name = table[role]
        if name is not None:
            line(scores[name], linestyle=style, color=colour, linewidth=1, zorder=0.5, label=f"{role}, beam {beam}")


def write_risks_plot(table: dict[str, Any], path: str | Path) -> None:
    """Draw likelihood risk against coverage risk with 95 % intervals: a point for each row that has them.

    Args:
        table: table.json's content.
        path: the PNG file.
    """
    figure = Figure(figsize=(6, 5))
    axes = figure.add_subplot()
    rows = [row for row in table["rows"] if "risks" in row]
    for number, row in enumerate(rows):
        sides = [row["risks"][name] for name in ("likelihood", "coverage")]
        (x, y), (x_bar, y_bar) = [side["mean"] for side in sides], [_bar(side) for side in sides]
        teacher = row["name"] == table["teacher"]
        colour = "#000000" if teacher else COLOURS[number % len(COLOURS)]
        axes.errorbar(x, y, xerr=x_bar, yerr=y_bar, elinewidth=1, capsize=2, linestyle="none", color=colour)
        marker = "*" if teacher else MARKERS[number % len(MARKERS)]
        axes.plot(
            x,
            y,
            label=as_text(row["name"]),
            linestyle="none",
            color=colour,
            marker=marker,
            markersize=10 if teacher else 7,
        )
    axes.set_xlabel("likelihood risk R_llh, nats a sentence, with 95 % bootstrap intervals")
    axes.set_ylabel("coverage risk R_cvg, nats a sentence")
    axes.set_title(as_text(table["title"]))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    save_picture(figure, path)


def _bar(figure: dict[str, Any]) -> list[list[float]]:
    """How far an interval reaches below and above the mean, in matplotlib's form."""
    low, high = figure["interval"]
    return [[max(0.0, figure["mean"] - low)], [max(0.0, high - figure["mean"])]]
