"""The interface of a decoding engine, and how sentences are put into batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from fairseq.data import Dictionary

from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError

Progress = Callable[[int], object]


@dataclass(frozen=True)
class Hypothesis:
    """One translation.

    Attributes:
        tokens: subwords separated by spaces, without ``</s>``.
        score: log-probability to the base 2 divided by the number of tokens (``</s>`` counted) to the power
            ``lenpen``, as fairseq-generate prints it.
        lenpen: the power.
        unseen: tokens that count in the score but are no text: ``<s>``, which a search can choose, or a language token,
            if the model's task adds any.
    """

    tokens: str
    score: float
    lenpen: float = 1.0
    unseen: int = 0

    @classmethod
    def of_length(cls, tokens: str, score: float, length: int, lenpen: float = 1.0) -> "Hypothesis":
        """A translation whose score is over ``length`` tokens, ``</s>`` and those that are no text counted."""
        return cls(tokens, score, lenpen, length - cls(tokens, score).size)

    @property
    def size(self) -> int:
        """Number of tokens of the text, ``</s>`` counted."""
        return len(self.tokens.split(" ")) + 1 if self.tokens else 1  # a symbol can hold another kind of space

    @property
    def probability(self) -> float:
        """The model's probability of the whole translation, ``</s>`` counted."""
        return 2 ** (self.score * (self.size + self.unseen) ** self.lenpen)


NOT_TRANSLATED = Hypothesis("", 0.0)
"""The translation of a source that is empty or longer than the model takes."""


class Engine(Protocol):
    """A model ready to decode.

    Attributes:
        parameters: number of parameters of all models together.
    """

    parameters: int

    def takes(self, source: torch.Tensor) -> bool:
        """Whether the engine translates a source: it is not empty and within the model's positions."""

    def translate(
        self, sources: Sequence[torch.Tensor], options: DecodingOptions, progress: Progress | None = None
    ) -> list[list[Hypothesis]]:
        """The ``options.nbest`` best translations of each source, best first, in the order of ``sources``.

        Args:
            sources: token ids ending in ``</s>``, one LongTensor of shape (length,) a sentence.
            options: how to search.
            progress: called with the number of sentences that were finished since the last call.
        """


def batches(lengths: dict[int, int], max_tokens: int) -> Iterator[list[int]]:
    """Cut sentences into batches of similar lengths, the longest sentences first.

    Args:
        lengths: each sentence's length in tokens, by its index.
        max_tokens: limit of a batch's longest length times its number of sentences. A longer sentence makes a batch of
            its own.
    """
    batch: list[int] = []
    for i in sorted(lengths, key=lambda i: (-lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > max_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def prefix_symbols(prefix: str, dictionary: Dictionary) -> list[int]:
    """The symbols of ``--prefix``.

    Args:
        prefix: tokens separated by spaces, "" for none.
        dictionary: of the target side.

    Raises:
        UserError: a token is not in the dictionary, or it is one of fairseq's special symbols.
    """
    symbols = []
    for token in prefix.split():
        symbol = dictionary.index(token)
        if symbol < dictionary.nspecial:
            raise UserError(
                f"--prefix: the dictionary has no token {token!r}; give subword tokens as in the data-bin's dict.*.txt"
            )
        symbols.append(symbol)
    return symbols


class TooFew(UserError):
    """A search found fewer than ``nbest`` hypotheses with finite scores.

    Attributes:
        sentence: its index among the sources of the call.
        found: how many it found.
        nbest: how many were asked for.
        advice: why, and what to do.
    """

    def __init__(self, sentence: int, found: int, nbest: int, where: str = "", advice: str = ""):
        self.sentence, self.found, self.nbest = sentence, found, nbest
        self.advice = advice or "lower --nbest; if the model produces NaN or infinite scores, check its weights"
        super().__init__(
            f"the search found {found} hypotheses for {where or 'a sentence'}, --nbest asks for {nbest}: {self.advice}"
        )

    def of(self, name: str) -> "TooFew":
        """The same error, with the name of the sentence and the model."""
        return TooFew(self.sentence, self.found, self.nbest, name, self.advice)


def out_of_memory(options: DecodingOptions) -> UserError:
    """The error for a batch that does not fit the GPU."""
    return UserError(f"the GPU's memory is too small for --max-tokens {options.max_tokens}: lower --max-tokens")
