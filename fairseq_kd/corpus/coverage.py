"""How much of a text a dictionary knows: enough, or the text was cut by another model."""

from collections.abc import Callable
from dataclasses import dataclass

from fairseq_kd.errors import UserError

MOST_UNKNOWN = 0.05
"""The largest share of tokens that a dictionary may lack; above it, the text was cut by another model."""


@dataclass
class Coverage:
    """How many tokens of a text a dictionary lacks.

    Attributes:
        knows: whether the dictionary has a token.
        tokens: counted so far.
        unknown: those of them that the dictionary lacks.
        first: the first of these, "" where there is none.
    """

    knows: Callable[[str], bool]
    tokens: int = 0
    unknown: int = 0
    first: str = ""

    def add(self, tokens: list[str]) -> None:
        """Count a row."""
        self.tokens += len(tokens)
        for token in tokens:
            if not self.knows(token):
                self.first = self.first or token
                self.unknown += 1

    @property
    def share(self) -> float:
        """The share of unknown tokens, from 0 to 1."""
        return self.unknown / self.tokens if self.tokens else 0.0

    def check(self, text: str, dictionary: str, advice: str) -> None:
        """Raise a UserError where the share is above :data:`MOST_UNKNOWN`.

        Args:
            text: what the message calls the text.
            dictionary: what it calls the dictionary.
            advice: what to do.
        """
        if self.share > MOST_UNKNOWN:
            raise UserError(
                f"{text}: {self.share:.1%} of its tokens are not in {dictionary} (the first is {self.first!r}), more "
                f"than {MOST_UNKNOWN:.0%}: {advice}"
            )
