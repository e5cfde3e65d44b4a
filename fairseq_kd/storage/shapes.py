"""What a JSON or YAML value has to look like; an error names the key.

A shape is a function of a value and of its place, such as ``beams.5.bleu``. It raises :class:`Misfit` where it does
not take the value. ``keys({"rows": whole(), "languages": list_of(text)})`` is the shape of an object.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

Shape = Callable[[Any, str], None]
DEEPEST = 32
"""The deepest nesting of a file that is read."""


class Misfit(ValueError):
    """A value has another shape. The message names its place and not the file.

    Attributes:
        place: of the value, or of the key that is missing; "" is the whole file.
    """

    def __init__(self, message: str, place: str = ""):
        super().__init__(message)
        self.place = place


def misfit(place: str, reason: str) -> Misfit:
    """The error about the value at ``place``: its place, and what is wrong with it."""
    return Misfit(f"{place or 'the whole file'}: {reason}", place)


def _misfit(value: Any, place: str, wanted: str) -> Misfit:
    shown = repr(value) if value is None or isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return misfit(place, f"{shown[:60]} is no {wanted}")


def anything(value: Any, place: str) -> None:
    """Any value at all."""


def text(value: Any, place: str) -> None:
    """A string."""
    if not isinstance(value, str):
        # Norwegian's "no" is a truth value in YAML.
        plain = value is None or isinstance(value, list | Mapping)
        raise _misfit(value, place, "text" if plain else "text; put it into quotes")


def line(value: Any, place: str) -> None:
    """A string of one line, which may end in a newline."""
    text(value, place)
    if len(value.strip().splitlines()) > 1:
        raise misfit(place, "has several lines; write it in one")


def file_name(value: Any, place: str) -> None:
    """The name of a file, which leads to no other folder."""
    text(value, place)
    if not value or "/" in value or "\0" in value or value in (".", ".."):
        raise _misfit(value, place, "name of a file")


def folder_name(value: Any, place: str) -> None:
    """The name of a folder, perhaps below others, as in ``wei_2024/iwslt14_de_en``; it leads no way up."""
    text(value, place)
    parts = value.split("/")
    if set(value) & {"\0", "\n"} or any(part in ("", ".", "..") for part in parts):
        raise _misfit(value, place, "name of a folder")


def exactly(wanted: str) -> Shape:
    """One string."""

    def check(value: Any, place: str) -> None:
        if value != wanted:
            raise _misfit(value, place, f"{wanted!r}")

    return check


def truth(value: Any, place: str) -> None:
    """``true`` or ``false``."""
    if not isinstance(value, bool):
        raise _misfit(value, place, "truth value")


def number(value: Any, place: str) -> None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise _misfit(value, place, "finite number")


def number_or_nan(value: Any, place: str) -> None:
    """A finite number, or NaN, the mean of no values."""
    if not (isinstance(value, float) and math.isnan(value)):
        number(value, place)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def whole(low: int = 0, high: int = 2**53) -> Shape:
    """An integer from ``low`` to ``high``."""

    def check(value: Any, place: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _misfit(value, place, f"whole number from {low} to {high}")

    return check


def maybe(shape: Shape) -> Shape:
    """``null``, or what ``shape`` takes."""

    def check(value: Any, place: str) -> None:
        if value is not None:
            shape(value, place)

    return check


def one_of(*shapes: Shape) -> Shape:
    """What the first or another of ``shapes`` takes; the error is that of the last."""

    def check(value: Any, place: str) -> None:
        for shape in shapes[:-1]:
            try:
                return shape(value, place)
            except Misfit:
                continue
        return shapes[-1](value, place)

    return check


def list_of(shape: Shape, length: int | None = None) -> Shape:
    """A list whose entries ``shape`` takes; with ``length`` it has so many."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, list) or length not in (None, len(value)):
            raise _misfit(value, place, "list" if length is None else f"list of {length}")
        for position, entry in enumerate(value):
            shape(entry, f"{place}.{position}" if place else str(position))

    return check


def map_of(shape: Shape) -> Shape:
    """An object of any keys, whose values ``shape`` takes."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, Mapping):
            raise _misfit(value, place, "mapping from keys to values")
        for key, entry in value.items():
            shape(entry, f"{place}.{key}" if place else str(key))

    return check


def among(choices: Iterable[str]) -> Shape:
    """One of the strings ``choices``."""
    known = list(choices)

    def check(value: Any, place: str) -> None:
        if value not in known:
            raise misfit(place, f"there is no {str(value)[:60]!r}{_nearest(value, known)}")

    return check


def _nearest(value: Any, known: Sequence[str]) -> str:
    """The likeliest of the words that ``value`` could stand for, as the end of an error."""
    near = get_close_matches(str(value), known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; choose from {', '.join(map(str, known))}"


def keys(needed: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None, *, others: bool = True) -> Shape:
    """An object with the keys ``needed`` and, perhaps, those of ``optional``.

    Other keys may have any value; with ``others=False`` there may be none.
    """
    shapes = {**needed, **(optional or {})}

    def check(value: Any, place: str) -> None:
        if not isinstance(value, Mapping):
            raise _misfit(value, place, "mapping from keys to values")
        within = f"{place}." if place else ""
        for key in value if not others else ():
            if key not in shapes:
                raise misfit(f"{within}{key}", f"is no known key{_nearest(key, list(shapes))}")
        for key in needed:
            if key not in value:
                raise misfit(f"{within}{key}", "is missing")
        for key, shape in shapes.items():
            if key in value:
                shape(value[key], f"{place}.{key}" if place else key)

    return check


def refuse_excess(value: Any, most: int) -> None:
    """Raise a :class:`Misfit` where a value is nested deeper than :data:`DEEPEST` or holds more than ``most`` values.

    What a YAML file names twice by an alias counts twice.
    """
    waiting: list[Iterator[tuple[str, Any]]] = [iter([("", value)])]
    count = 0
    while waiting:
        following = next(waiting[-1], None)
        if following is None:
            waiting.pop()
            continue
        count += 1
        place, one = following
        if isinstance(one, dict | list):
            waiting.append(iter(one.items() if isinstance(one, dict) else (("", each) for each in one)))
        if count > most or len(waiting) > DEEPEST:
            reason = f"has more than {most:,} values" if count > most else f"is nested deeper than {DEEPEST}"
            raise Misfit(f"{place or 'the file'}: {reason}")
