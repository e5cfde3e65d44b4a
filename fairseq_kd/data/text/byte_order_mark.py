"""The byte order mark that some programs put before a text: it belongs to no line."""

import logging

logger = logging.getLogger(__name__)

MARK = "\ufeff"
_told: set[str] = set()  # a file is read several times


def without_mark(text: str, name: str) -> str:
    """``text`` without a byte order mark at its start; the log says that there was one.

    Args:
        text: the beginning of a file.
        name: of the file.
    """
    if not text.startswith(MARK):
        return text
    if name not in _told:
        _told.add(name)
        logger.warning("%s: begins with a byte order mark, which is left out", name)
    return text[len(MARK) :]
