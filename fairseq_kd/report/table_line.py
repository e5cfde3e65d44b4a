"""Lines and cells of a Markdown table."""

from collections.abc import Mapping, Sequence
from typing import Any


def table_line(cells: Sequence[str]) -> str:
    """The cells with bars between them; a bar within one is escaped, and a line break becomes a space."""
    escaped = (" ".join(cell.splitlines()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def spread_cell(figure: Mapping[str, Any], digits: int) -> str:
    """A mean over seeds and, where there are several, ± its standard deviation."""
    deviation = "" if figure["sd"] is None else f" ± {figure['sd']:.{digits}f}"
    return f"{figure['mean']:.{digits}f}{deviation}"


def table_head(header: Sequence[str], words: int = 1) -> list[str]:
    """The heading, and the line below it: the first ``words`` columns hold words, all others figures."""
    return [table_line(header), table_line(["---"] * words + ["---:"] * (len(header) - words))]
