"""Options of the form NAME=FILE and AT=FILE."""

import math
import os
from collections.abc import Sequence

from fairseq_kd.errors import UserError


def named_files(option: str, words: Sequence[str]) -> dict[str, list[str]]:
    """The files that words of the form NAME=FILE give, by name; a name may come again.

    Both may contain "=": the shortest FILE that exists counts, else the shortest.

    Raises:
        UserError: a word has another form.
    """
    files: dict[str, list[str]] = {}
    for word in words:
        places = [place for place, sign in enumerate(word) if sign == "=" and 0 < place < len(word) - 1]
        if not places:
            raise UserError(f"{option} {word}: give NAME=FILE")
        splits = [(word[:place], word[place + 1 :]) for place in reversed(places)]
        name, path = next((split for split in splits if os.path.isfile(split[1])), splits[0])
        files.setdefault(name, []).append(path)
    return files


def placed_files(words: Sequence[str], verb: str) -> dict[float, list[str]]:
    """The files that words of the form AT=FILE give, by their place on the axis.

    Raises:
        UserError: a word has another form, or AT is not a finite number; ``verb`` is what the files come from.
    """
    files: dict[float, list[str]] = {}
    for word in words:
        at, equals, path = word.partition("=")
        try:
            place = float(at)
        except ValueError:
            place = math.nan
        if not (equals and path and math.isfinite(place)):
            raise UserError(f"{word}: give AT=FILE, a number and a file that fairseq-kd {verb} wrote")
        files.setdefault(place, []).append(path)
    return files
