"""A picture of gates over training, with the validation BLEU of the same trainings."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fairseq_kd.report.pictures.table import COLOURS, as_text, save_picture

LINES = ("-", "--", ":")


def gated_rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of table.json's content that have a gate in a training log."""
    return [row for row in table["rows"] if any("gate" in training for training in row.get("training", ()))]


def write_gates(table: dict[str, Any], path: str | Path) -> None:
    """Draw each gate's mean over the updates, within a band of one standard deviation, and the validation BLEU below.

    Each training seed has a line; the lines of a row look alike. Without a validation BLEU there is no second panel.

    Args:
        table: table.json's content, with a row of :func:`gated_rows`.
        path: the PNG file.
    """
    drawn = [
        (as_text(row["name"]), number, training)
        for number, row in enumerate(gated_rows(table))
        for training in row["training"]
        if "gate" in training
    ]
    scored = any("bleu" in training["validation"] for _, _, training in drawn)
    figure = Figure(figsize=(8, 7 if scored else 4))
    panels = figure.subplots(2 if scored else 1, sharex=True, squeeze=False)[:, 0]
    named: set[str] = set()
    for name, number, training in drawn:
        style = {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[number // len(COLOURS) % len(LINES)]}
        _draw_gate(panels[0], training["gate"]["course"], None if name in named else name, style)
        named.add(name)
        if "bleu" in training["validation"]:
            panels[1].plot(training["validation"]["updates"], training["validation"]["bleu"], **style)
    panels[0].set_ylim(-0.02, 1.02)
    panels[0].set_ylabel("g: mean and standard deviation")
    panels[0].set_title("The gate: 1 is token-level, 0 is sentence-level")
    panels[0].legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    if scored:
        panels[1].set_ylabel("validation BLEU")
    panels[-1].set_xlabel("updates")
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    save_picture(figure, path)


def _draw_gate(axes: Axes, course: dict[str, list[float]], label: str | None, style: dict[str, str]) -> None:
    updates, means, spreads = course["updates"], course["mean"], course["spread"]
    low, high = ([mean + sign * sd for mean, sd in zip(means, spreads, strict=True)] for sign in (-1, 1))
    axes.plot(updates, means, label=label, **style)  # type: ignore[arg-type]
    axes.fill_between(updates, low, high, color=style["color"], alpha=0.2, linewidth=0)
