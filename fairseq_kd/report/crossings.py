"""The crossings of a study's lines in words."""

from collections.abc import Sequence
from math import isclose


def span_in_words(interval: Sequence[float], places: Sequence[float]) -> str:
    """A crossing's interval; ≤ or ≥ stands before an end that is the axis's own, as it holds what lies beyond it.

    Args:
        interval: its two ends.
        places: of the axis, ascending.
    """
    low, high = interval
    below, beyond = isclose(low, places[0]), isclose(high, places[-1])
    return f"{'≤ ' if below else ''}{low:.3g} to {'≥ ' if beyond else ''}{high:.3g}"
