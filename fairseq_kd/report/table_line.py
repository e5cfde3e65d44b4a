"""A line of a Markdown table."""

from collections.abc import Sequence


def table_line(cells: Sequence[str]) -> str:
    """The cells with bars between them; a bar within one is escaped, and a line break becomes a space."""
    escaped = (" ".join(cell.splitlines()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
