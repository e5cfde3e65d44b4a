"""A study as pictures, one for each axis."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fairseq_kd.report.pictures.table import COLOURS, MARKERS, as_text, save_picture

BARS: dict[str, Any] = {"elinewidth": 1, "capsize": 2, "markersize": 4}


def write_axis(study: dict[str, Any], path: Path) -> None:
    """Draw study.json's lines over the study's axis, a panel for each measure, to the PNG file ``path``."""
    figure = Figure(figsize=(4.2 * len(study["measures"]), 4), layout="constrained")
    panels = figure.subplots(1, len(study["measures"]), squeeze=False)[0]
    for axes, (measure, label) in zip(panels, study["measures"].items(), strict=True):
        axes.set_xscale(study["axis"]["scale"])
        _draw(axes, study["over_axis"], measure, study["teacher"], study["axis"]["scale"] == "log")
        places = study["over_axis"]["places"]
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.set_xticks([], minor=True)
        axes.set_xlabel(as_text(study["axis"]["label"]))
        axes.set_title(label, fontsize=10)
    _save(figure, panels[0], study["title"], path)


def write_lengths(study: dict[str, Any], path: Path) -> None:
    """Draw study.json's lines over the source's length: a column of panels for each point, a row for each measure."""
    measures, points = study["measures"], study["over_lengths"]
    figure = Figure(figsize=(max(7, 3 * len(points)), 2.6 * len(measures) + 0.8), layout="constrained")
    panels = figure.subplots(len(measures), len(points), squeeze=False, sharex="col", sharey="row")
    for row, (measure, label) in zip(panels, measures.items(), strict=True):
        for axes, point in zip(row, points, strict=True):
            _draw(axes, point, measure, study["teacher"], False)
        row[0].set_ylabel(label)
    for axes, point in zip(panels[0], points, strict=True):
        axes.set_title(as_text(f"{study['axis']['label']}: {point['at']:g}"), fontsize=9)
    for axes, point in zip(panels[-1], points, strict=True):
        axes.set_xlabel("source length (subwords)")
        spans = [f"{bucket['shortest']}–{bucket['longest']}" for bucket in point["buckets"]]
        axes.set_xticks(point["places"], spans, fontsize=7)
    _save(figure, panels[0][0], study["title"], path)


def write_decoding(study: dict[str, Any], path: Path) -> None:
    """Draw the difference of each two lines over decoding procedures: a panel for each pair, a line for each point.

    With a single line there is no pair, and no file is written; one of a study that was there before goes.
    """
    measures, found = study["measures"], study["over_axis"]["comparisons"]
    pairs = [(pair["line"], pair["other"]) for pair in next(iter(found.values()))]
    if not pairs:
        return path.unlink(missing_ok=True)
    figure = Figure(figsize=(max(7, 4.2 * len(pairs)), 4), layout="constrained")
    panels = figure.subplots(1, len(pairs), squeeze=False, sharey=True)[0]
    places = study["over_axis"]["places"]
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(places)))
    for number, (axes, (line, other)) in enumerate(zip(panels, pairs, strict=True)):
        axes.axhline(0, color="#777777", linewidth=1, zorder=0.5)
        for place, at in enumerate(places):
            differences = [found[measure][number]["differences"][place] for measure in measures]
            moved = np.arange(len(measures)) + 0.06 * (place - (len(places) - 1) / 2)  # intervals beside each other
            marker = MARKERS[place % len(MARKERS)]
            axes.errorbar(
                moved, [one["mean"] for one in differences], yerr=_bars(differences), label=f"{at:g}",
                color=colours[place], marker=marker, **BARS,
            )  # fmt: skip
        labels = [fill(label.replace(" (%)", ""), 14, break_on_hyphens=False) for label in measures.values()]
        axes.set_xticks(range(len(measures)), labels, fontsize=8)
        axes.set_title(as_text(f"{line} − {other}"), fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("difference, BLEU or percentage points")
    _save(figure, panels[0], study["title"], path, study["axis"]["label"])


def _draw(axes: Axes, axis: dict[str, Any], measure: str, teacher: str | None, logarithmic: bool) -> None:
    """Draw one panel: each line with its intervals, the teacher's dashed, and the crossings with their intervals."""
    scores, number = axis["scores"][measure], 0
    for name, each in scores.items():
        looks: dict[str, Any] = {"color": "#000000", "linestyle": "--", "marker": "*"}
        if name != teacher:
            looks = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            number += 1
        means = [one["mean"] for one in each]
        axes.errorbar(axis["places"], means, yerr=_bars(each), label=as_text(name), linewidth=1.2, **BARS, **looks)
    limits = axes.get_xlim()
    for pair in axis["comparisons"][measure]:
        line = [one["mean"] for one in scores[pair["line"]]]
        for crossing in pair["crossings"]:
            along = (np.log if logarithmic else np.asarray)([*axis["places"], crossing["at"]])
            height = np.interp(along[-1], along[:-1], line)
            colour = "#333333" if crossing["clear"] else "#BBBBBB"
            axes.plot(crossing["at"], height, marker="x", color=colour, markersize=7, zorder=5)
            if not crossing["clear"]:
                continue
            axes.plot(crossing["interval"], [height, height], color="#333333", linewidth=3, alpha=0.3, zorder=0.6)
            text = f"{crossing['at']:.3g}"
            axes.annotate(text, (crossing["at"], height), (4, 6), textcoords="offset points", fontsize=7)
    axes.set_xlim(limits)
    axes.spines[["top", "right"]].set_visible(False)


def _bars(scores: Sequence[dict[str, Any]]) -> list[list[float]]:
    """How far intervals reach below and above their means, in matplotlib's form."""
    low = [max(0.0, one["mean"] - one["interval"][0]) for one in scores]
    return [low, [max(0.0, one["interval"][1] - one["mean"]) for one in scores]]


def _save(figure: Figure, axes: Axes, title: str, path: Path, legend: str | None = None) -> None:
    about = f"lines: {legend}" if legend else "× and bar: a clear crossing and its interval, pale ×: another"
    figure.suptitle(as_text(f"{title}\n95 % bootstrap intervals; {about}"), fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    save_picture(figure, path)
