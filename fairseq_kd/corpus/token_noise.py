"""Delete, substitute and swap tokens of training sentences: the noise of Wei et al. 2024, after Edunov et al. 2018.

Edunov et al. 2018 (https://aclanthology.org/D18-1045) delete words with probability 0.1, replace words by a filler with
probability 0.1, and permute the words so that none moves more than three places. Wei et al. 2024
(https://arxiv.org/abs/2404.14827) delete 10 % of the tokens, substitute 10 %, and swap tokens within a span of 3 with a
probability of 50 % (moderate noise) or 100 % (high noise). They leave the side open: here it is the source,
unless another is chosen. This module reads the other words so:

- A token is a word of the raw text, what white space separates.
- One draw decides whether a token is deleted, substituted or neither, so each of the two shares is one of all tokens.
  (Edunov et al. draw twice, which replaces 9 % of all tokens.)
- A substituted token becomes another word of the same side's training text, drawn by frequency. A filler would need a
  place in the vocabulary, and as a target the student would learn to write it.
- After that, each token takes part in swapping with the probability, whatever the other tokens do. The place i of a
  token that takes part becomes i + U(−2, 2), the others keep i, and the tokens are sorted by it. No token moves more
  than three places. With probability 1 this is the permutation of Lample et al. 2018
  (https://arxiv.org/abs/1711.00043), whom Edunov et al. follow.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any, Literal, NamedTuple, get_args

from fairseq_kd.errors import UserError

Side = Literal["source", "target", "both"]
SIDES: tuple[Side, ...] = get_args(Side)
SPAN = 3
"""How many places a token can move."""
REACH = (SPAN + 1) / 2
"""Two tokens change their order if their draws from U(−REACH, REACH) differ by more than their distance."""


@dataclass(frozen=True)
class TokenNoise:
    """Noise in the tokens of training sentences. The defaults are the moderate noise of Wei et al. 2024.

    With one seed, noise of a higher ``swap`` deletes and substitutes the same tokens.

    Attributes:
        delete: the probability that a token is deleted. Of a sentence that would lose all tokens, one stays.
        substitute: the probability that a token becomes another word of the same side's training text.
        swap: the probability that a token takes part in swapping, within :data:`SPAN` places; 1 is high noise.
        side: which sides get the noise.
    """

    delete: float = 0.1
    substitute: float = 0.1
    swap: float = 0.5
    side: Side = "source"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: a probability is not from 0 to 1, or ``delete`` and ``substitute`` are more than 1 together.
        """
        for name in ("delete", "substitute", "swap"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"--{name} {getattr(self, name)}: give a probability from 0 to 1")
        if self.delete + self.substitute > 1:
            raise UserError(f"--delete {self.delete} and --substitute {self.substitute}: give at most 1 together")

    def apply(
        self, source: Sequence[str], target: Sequence[str], seed: int
    ) -> tuple[list[str], list[str], dict[str, Any]]:
        """Both sides with the noise, and what ``noise.json`` says of it: the settings, and counts of tokens by side."""
        settings = {name: getattr(self, name) for name in ("side", "delete", "substitute", "swap")}
        sides, counts = {"source": list(source), "target": list(target)}, {}
        for side, lines in sides.items():
            if self.side in (side, "both"):
                sides[side], counts[side] = self.spoil(lines, f"{seed} {side}")
        facts = {"kind": "tokens", **settings, "span": SPAN, "seed": seed, "counts": counts}
        return sides["source"], sides["target"], facts

    def spoil(self, lines: Sequence[str], seed: str) -> tuple[list[str], dict[str, int]]:
        """Lines with the noise, and how many tokens there were, and were deleted, substituted and moved.

        A line's draws depend on the seed and the line's number alone.

        Args:
            lines: words with single spaces between them.
            seed: of the draws.
        """
        another, counts = _substitutes(lines), Counter(tokens=0, deleted=0, substituted=0, moved=0)
        noisy = []
        for row, line in enumerate(lines):
            words, found = self._spoil_words(line.split(), another, Random(f"{seed} {row}"))
            noisy.append(" ".join(words))
            counts.update(found)
        return noisy, dict(counts)

    def _spoil_words(
        self, words: Sequence[str], another: Callable[[str, float], str], random: Random
    ) -> tuple[list[str], dict[str, int]]:
        """One line's words with the noise, and its counts."""
        tokens = [_Token(word, *(random.random() for _ in range(4))) for word in words]
        kept = [token for token in tokens if token.fate >= self.delete]
        kept = kept or sorted(tokens, key=lambda token: token.fate)[-1:]  # the likeliest to stay
        left = [
            another(token.word, token.substitute) if 0 <= token.fate - self.delete < self.substitute else token.word
            for token in kept
        ]
        places = [
            place + (REACH * (2 * token.offset - 1) if token.lot < self.swap else 0) for place, token in enumerate(kept)
        ]
        order = sorted(range(len(left)), key=places.__getitem__)
        counts = {
            "tokens": len(tokens),
            "deleted": len(tokens) - len(kept),
            "substituted": sum(word != token.word for word, token in zip(left, kept, strict=True)),
            "moved": sum(place != before for place, before in enumerate(order)),
        }
        return [left[place] for place in order], counts


class _Token(NamedTuple):
    """A word with its draws from [0, 1), also those that are not needed: no rate changes the draws of another rate."""

    word: str
    fate: float
    substitute: float
    lot: float
    offset: float


def _substitutes(lines: Sequence[str]) -> Callable[[str, float], str]:
    """A function of a word and a number u from [0, 1): the other word of ``lines`` that u draws by frequency.

    A text of one word has no other; the function returns that word.
    """
    frequencies = Counter(word for line in lines for word in line.split())
    words, ends = list(frequencies), list(accumulate(frequencies.values()))
    end_of = dict(zip(words, ends, strict=True))

    def another(word: str, u: float) -> str:
        others = ends[-1] - frequencies[word]
        if not others:
            return word
        token = int(u * others)  # a place in the text without the word, with equal words side by side
        return words[bisect_right(ends, token + frequencies[word] * (token >= end_of[word] - frequencies[word]))]

    return another
