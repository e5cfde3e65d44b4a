"""A picture of a gate over training, read from fairseq-train's log."""

import re
from pathlib import Path

from matplotlib.figure import Figure

from fairseq_kd.errors import UserError
from fairseq_kd.report.plots import COLOURS
from fairseq_kd.storage.files import whole_file

# "gate=0.5, num_updates=3", "gate 0.5 | num_updates 3" and "gate": "0.5", "num_updates": "3"
FIGURE = re.compile(r"\b(?:train_)?(gate|gate_spread|num_updates)\b[\"]?[ =:]+[\"]?([0-9.]+)")
LINES = ("-", "--", ":")
Course = dict[int, tuple[float, float]]
"""Mean and standard deviation of g by the number of updates."""


def read_course(path: Path) -> Course:
    """A gate's course, from a training log of criterion ``hybrid_kd`` in any --log-format of lines.

    If an update occurs twice, its last line counts. Lines of whole epochs count only if the log has no shorter
    intervals.

    Raises:
        UserError: the log cannot be read, or has no gate in it.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"--gate-log {path}: cannot be read ({error.strerror})") from None
    course: Course = {}
    for line in [line for line in lines if "| train_inner |" in line] or [
        line for line in lines if "| train |" in line
    ]:
        found = {name: float(value.rstrip(".")) for name, value in FIGURE.findall(line)}
        if found.keys() == {"gate", "gate_spread", "num_updates"}:
            course[int(found["num_updates"])] = (found["gate"], found["gate_spread"])
    if not course:
        raise UserError(f"--gate-log {path}: has no gate in it; give the log of a fairseq-train --criterion hybrid_kd")
    return dict(sorted(course.items()))


def write_gates(courses: dict[str, Course], path: str | Path) -> None:
    """Draw the gate's mean over the updates, with a band of one standard deviation on either side.

    Args:
        courses: by the names that the legend gives them.
        path: the PNG file.
    """
    figure = Figure(figsize=(8, 4))
    axes = figure.add_subplot()
    for number, (name, course) in enumerate(courses.items()):
        colour, updates = COLOURS[number % len(COLOURS)], list(course)
        means = [mean for mean, _ in course.values()]
        low, high = ([mean + sign * sd for mean, sd in course.values()] for sign in (-1, 1))
        axes.plot(updates, means, color=colour, linestyle=LINES[number // len(COLOURS) % len(LINES)], label=name)
        axes.fill_between(updates, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("updates")
    axes.set_ylabel("g: mean and standard deviation")
    axes.set_title("The gate: 0 is token-level, 1 is sentence-level")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    with whole_file(path, "wb") as handle:
        figure.savefig(handle, format="png", dpi=150, bbox_inches="tight")
