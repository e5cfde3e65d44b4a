"""Rules that a filter drops rows by. It imports neither torch nor fairseq, so that `--help` is quick.

A row is dropped by the first rule that it breaks, in the order of :data:`NAMES`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fairseq_kd.errors import UserError

NAMES = ("kept", "empty", "length_ratio", "copy", "repetition", "duplicate", "score", "reverse")
"""What becomes of a row; the place of a name is its number in the blocks."""
KEPT, EMPTY, LENGTH_RATIO, COPY, REPETITION, DUPLICATE, SCORE, REVERSE = range(len(NAMES))
MAX_TOKENS = 4000
"""Tokens in a batch of the reverse model."""
UNITS = ("tokens", "characters")
LONGEST = 8
"""Tokens of the longest part whose repetition counts."""


@dataclass(frozen=True)
class Rules:
    """What is dropped.

    Attributes:
        length_ratio: rows whose longer side is more than this many times as long as the other; 0: none.
        length_unit: what a length counts: "tokens" as they stand in the text, or "characters" without spaces.
        copies: whether targets that equal their source are dropped; upper and lower case count as the same.
        repeats: targets that have a part of up to 8 tokens this many times in a row, and more often than their source;
            0: none.
        duplicates: whether pairs of the same text as an earlier kept one are dropped.
        score_share: share of the rows with the lowest scores of the teacher.
        reverse_share: share of the rows with the highest cross-entropy under the reverse model.

    Raises:
        UserError: a value is out of range.
    """

    length_ratio: float = 3.0
    length_unit: str = UNITS[0]
    copies: bool = True
    repeats: int = 4
    duplicates: bool = True
    score_share: float = 0.0
    reverse_share: float = 0.0

    def __post_init__(self) -> None:
        if self.length_ratio != 0 and not self.length_ratio >= 1:
            raise UserError(f"--length-ratio {self.length_ratio}: give 1 or more, or 0 for no such rule")
        if self.repeats != 0 and self.repeats < 2:
            raise UserError(f"--repeats {self.repeats}: give 2 or more, or 0 for no such rule")
        for name in ("score_share", "reverse_share"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: give a share from 0 to below 1")

    def broken(self, tokens: tuple[Sequence[str], Sequence[str]], texts: tuple[str, str]) -> int:
        """The first rule that a row breaks by itself, as its place in :data:`NAMES`; 0 where it breaks none.

        Args:
            tokens: of source and target, as they stand in the text.
            texts: of source and target, subwords joined.
        """
        if not all(texts):
            return EMPTY
        if self.length_ratio and self._ratio(tokens, texts) > self.length_ratio:
            return LENGTH_RATIO
        if self.copies and texts[0].casefold() == texts[1].casefold():
            return COPY
        if self.repeats and self._loops(tokens):
            return REPETITION
        return KEPT

    def _ratio(self, tokens: tuple[Sequence[str], Sequence[str]], texts: tuple[str, str]) -> float:
        lengths = [len(side) for side in tokens]
        if self.length_unit == "characters":
            lengths = [len(text) - text.count(" ") for text in texts]
        return max(lengths) / min(lengths)

    def _loops(self, tokens: tuple[Sequence[str], Sequence[str]]) -> bool:
        source, target = tokens
        # With fewer tokens that came before, nothing can stand in the target so often.
        if len(target) - len(set(target)) < self.repeats - 1:
            return False
        found = most_repeats(target)
        return found >= self.repeats and found > most_repeats(source)


def most_repeats(tokens: Sequence[str]) -> int:
    """How often in a row a part of 1 to 8 tokens stands at most: 1 for "a b c", 3 for "x a b a b a b"."""
    most = 1
    for size in range(1, LONGEST + 1):
        run = 0
        for place in range(size, len(tokens)):
            run = run + 1 if tokens[place] == tokens[place - size] else 0
            most = max(most, run // size + 1)
    return most
