"""Two segmentations of one text into pieces, aligned by the bytes of their text. Pure Python: no tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, takewhile

from fairseq_kd.data.text.subwords import written

SPACE = "▁"
"""Sentencepiece's mark of a space; it begins a piece that begins a word."""
UNKNOWN = f"{SPACE}⁇"
"""The surface of an unknown symbol, as sentencepiece writes it."""
Boundary = tuple[int, int]
"""Number of the student's pieces and of the teacher's pieces before a common boundary."""


@dataclass(frozen=True)
class Alignment:
    """What a student's and a teacher's pieces of one text have in common, places counted from 0.

    Attributes:
        pairs: places (student's, teacher's) of pieces that are the same and cover the same part of the text.
        spans: (first student's, end, first teacher's, end) of all other spans between neighbouring common boundaries.
        whole: whether both sides have the same text. Otherwise only their common beginning and end are aligned.
    """

    pairs: list[tuple[int, int]] = field(default_factory=list)
    spans: list[tuple[int, int, int, int]] = field(default_factory=list)
    whole: bool = True

    def moved(self, places: Sequence[int]) -> "Alignment":
        """The same, the student's piece i standing at ``places[i]``; a span that something else divides is left out."""
        pairs = [(places[i], j) for i, j in self.pairs]
        spans = [
            (places[i], places[i] + i_end - i, j, j_end)
            for i, i_end, j, j_end in self.spans
            if places[i_end - 1] - places[i] == i_end - 1 - i
        ]
        return Alignment(pairs, spans, self.whole)


def surfaces(symbols: Sequence[str], unknown: str, *, words: bool) -> list[str]:
    """What symbols stand for in a text, with :data:`SPACE` for a space.

    Args:
        symbols: pieces of sentencepiece, or words.
        unknown: the symbol that stands for unknown characters.
        words: whether the symbols are words; a word has a space before it.
    """
    prefix = SPACE if words else ""
    return [UNKNOWN if symbol == unknown else f"{prefix}{symbol}" for symbol in symbols]


def detokenised(pieces: Sequence[str]) -> str:
    """The text of :func:`surfaces`. Byte-fallback pieces become characters; a byte of no character becomes U+FFFD."""
    return b"".join(map(written, pieces)).decode(errors="replace").replace(SPACE, " ").strip()


def align(student: Sequence[str], teacher: Sequence[str]) -> Alignment:
    """Align two segmentations of one text; both are :func:`surfaces`.

    Texts are compared in UTF-8, so that a character meets its byte-fallback pieces. Where they differ, as after another
    normalisation, the common beginning and the common end are aligned.
    """
    own, theirs = (b"".join(map(written, pieces)) for pieces in (student, teacher))
    # A tokenizer may write no space before the first word: then the other side's first space counts as nothing.
    space = SPACE.encode()
    sides = ((own, theirs), (theirs, own))
    skipped = [len(space) * (one.startswith(space) and not other.startswith(space)) for one, other in sides]
    own, theirs = own[skipped[0] :], theirs[skipped[1] :]
    own_ends, their_ends = _ends(student, skipped[0]), _ends(teacher, skipped[1])
    if own == theirs:
        return _between([_common(own_ends, their_ends, most=len(own))], student, teacher, whole=True)
    begun = _same_beginning(own, theirs)
    ended = min(_same_beginning(own[::-1], theirs[::-1]), min(len(own), len(theirs)) - begun)
    first = _common(own_ends, their_ends, most=begun)
    # The same from the end: distances to the last character, the last boundary first.
    distances = [[ends[-1] - end for end in reversed(ends)] for ends in (own_ends, their_ends)]
    last = [(len(student) - i, len(teacher) - j) for i, j in _common(distances[0], distances[1], most=ended)][::-1]
    return _between([first, last], student, teacher, whole=False)


def _same_beginning(one: bytes, other: bytes) -> int:
    """Number of bytes with which both texts begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _ends(pieces: Sequence[str], skipped: int) -> list[int]:
    """The number of bytes before each boundary, that before the first piece included."""
    return [max(0, end - skipped) for end in accumulate((len(written(piece)) for piece in pieces), initial=0)]


def _common(own: Sequence[int], theirs: Sequence[int], most: int) -> list[Boundary]:
    """The boundaries at the same number of bytes, up to ``most``; both sequences ascend."""
    found, i, j = [], 0, 0
    while i < len(own) and j < len(theirs) and max(own[i], theirs[j]) <= most:
        if own[i] == theirs[j]:
            found.append((i, j))
        # Both go on where they are equal. A side that is behind goes on alone.
        i, j = i + (own[i] <= theirs[j]), j + (theirs[j] <= own[i])
    return found


def _between(
    stretches: Sequence[Sequence[Boundary]], student: Sequence[str], teacher: Sequence[str], *, whole: bool
) -> Alignment:
    """The spans between neighbouring boundaries of each stretch of text that both sides share."""
    found = Alignment(whole=whole)
    for stretch in stretches:
        for (i, j), (i_end, j_end) in pairwise(stretch):
            if (i_end - i, j_end - j) == (1, 1) and student[i] == teacher[j]:
                found.pairs.append((i, j))
            elif i_end > i and j_end > j:
                found.spans.append((i, i_end, j, j_end))
    return found
