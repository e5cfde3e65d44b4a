"""Options of the form NAME=FILE and AT=FILE."""

import math
from collections.abc import Sequence
from pathlib import Path

from fairseq_kd.errors import UserError


def named_files(option: str, words: Sequence[str]) -> dict[str, list[str]]:
    """The files that words of the form NAME=FILE give, by name; a name may come again.

    Name and path may contain "=": the last "=" counts behind which a file's path stands, or else the last of all.

    Raises:
        UserError: a word has another form.
    """
    files: dict[str, list[str]] = {}
    for word in words:
        parts = word.split("=")
        cuts = [("=".join(parts[:place]), "=".join(parts[place:])) for place in range(len(parts) - 1, 0, -1)]
        cuts = [cut for cut in cuts if all(cut)]
        if not cuts:
            raise UserError(f"{option} {word}: give NAME=FILE")
        name, path = next((cut for cut in cuts if Path(cut[1]).is_file()), cuts[0])
        files.setdefault(name, []).append(path)
    return files


def placed_files(words: Sequence[str], verb: str) -> dict[float, list[str]]:
    """The files that words of the form AT=FILE give, by their place on the axis.

    Args:
        words: of the command line.
        verb: of `fairseq-kd`, which wrote the files; the error names it.

    Raises:
        UserError: a word has another form, or AT is not a finite number.
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
