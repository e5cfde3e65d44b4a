"""What the page's pictures share: an empty Bokeh figure, colours, and a legend that the page itself shows.

Bokeh draws: its library is one file of 1.3 MB that needs neither a network nor `eval`, so the page can forbid both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bokeh.embed import json_item
from bokeh.models import FixedTicker, HoverTool, NumeralTickFormatter
from bokeh.plotting import figure

from fairseq_kd.report.pictures.table import COLOURS

MARKERS = ("circle", "square", "diamond", "triangle", "inverted_triangle", "hex")
DASHES = ("solid", "dashed", "dotted")


@dataclass
class Picture:
    """A Bokeh figure and the legend beside it.

    Attributes:
        label: what the page's choice calls it.
        figure: to draw in.
        note: a sentence below it.
        legend: "name", "colour", "marker" and "ids", the renderers that a click on the name hides, of each entry.
    """

    label: str
    figure: Any
    note: str
    legend: list[dict[str, Any]] = field(default_factory=list)

    def enter(self, name: str, number: int, renderers: Sequence[Any]) -> None:
        """Add renderers to the legend, to the entry of this name if there is one; ``number`` is that of the row."""
        entry = next((one for one in self.legend if one["name"] == name), None)
        if entry is None:
            colour, marker, _ = style(number)
            entry = {"name": name, "colour": colour, "marker": marker, "ids": []}
            self.legend.append(entry)
        entry["ids"] += [one.id for one in renderers]

    def hover(self, renderers: Sequence[Any], tooltips: Sequence[tuple[str, str]]) -> None:
        """Show a box with these lines where the pointer is on a point of the renderers."""
        self.figure.add_tools(
            HoverTool(renderers=list(renderers), tooltips=list(tooltips), point_policy="snap_to_data")
        )

    def content(self) -> dict[str, Any]:
        """What the page draws it from."""
        item = json_item(self.figure)
        return {"label": self.label, "item": item, "legend": self.legend, "note": self.note}


def new_picture(label: str, x: str, y: str, note: str, *, log: bool = False) -> Picture:
    """An empty picture with labelled axes, as wide as the page."""
    made = figure(
        height=440,
        sizing_mode="stretch_width",
        x_axis_type="log" if log else "linear",
        x_axis_label=x,
        y_axis_label=y,
        toolbar_location="above",
        tools="pan,wheel_zoom,box_zoom,reset,save",
        # A drag or a wheel scrolls the page until a tool is chosen.
        active_drag=None,
        active_scroll=None,
    )
    made.toolbar.logo = None
    made.outline_line_color = None
    made.background_fill_color = made.border_fill_color = "#ffffff"
    for axis in (*made.xaxis, *made.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.minor_tick_line_color = None
    if log:
        # Bokeh's own ticks of less than two decades are so dense that they overlap on a phone.
        made.xaxis.ticker = FixedTicker(ticks=[step * 10.0**power for power in range(-4, 10) for step in (1, 2, 5)])
        made.xaxis.formatter = NumeralTickFormatter(format="0,0.[000]")
    return Picture(label, made, note)


def style(number: int) -> tuple[str, str, str]:
    """Colour, marker and dash of the row with this number."""
    kind = number // len(COLOURS)
    return COLOURS[number % len(COLOURS)], MARKERS[kind % len(MARKERS)], DASHES[kind % len(DASHES)]
