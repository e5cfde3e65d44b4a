"""The interface of what translates text: lines in, lines out, whatever the model and its subwords."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fairseq_kd.decoding.interface import NOT_TRANSLATED, Progress
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError

MOST_UNKNOWN = 0.2
"""The largest share of unknown symbols in text that a model's own tokenizer has cut."""


@dataclass(frozen=True)
class TextHypothesis:
    """One translation of a line.

    Attributes:
        text: the translation, without a line break.
        tokens: its subwords, separated by spaces, without ``</s>``.
        score: as :attr:`fairseq_kd.decoding.interface.Hypothesis.score`.
    """

    text: str
    tokens: str
    score: float


NO_TEXT = TextHypothesis(NOT_TRANSLATED.tokens, NOT_TRANSLATED.tokens, NOT_TRANSLATED.score)
"""The translation of a line that is empty or longer than the model takes."""


class TextTranslator(Protocol):
    """A model with its tokenizer. Making one is cheap: the model is loaded when it is first needed.

    Attributes:
        languages: of the source and of the target, for the names of files.
        settings: all that the output depends on beside the text and the search: hashes of the model's files, engine,
            precision. JSON takes it.
    """

    languages: tuple[str, str]
    settings: dict[str, Any]

    def takes(self, line: str) -> bool:
        """Whether the model translates a line: it is not empty and within the model's positions."""

    def unknown_share(self, lines: Sequence[str]) -> float:
        """The share of source symbols that the model does not know, from 0 to 1; 0 where there are no symbols."""

    def translate(
        self, lines: Sequence[str], options: DecodingOptions, progress: Progress | None = None
    ) -> list[list[TextHypothesis]]:
        """The ``options.nbest`` best translations of each line, best first, in the order of ``lines``.

        Args:
            lines: text without its line breaks.
            options: how to search.
            progress: called with the number of lines that were finished since the last call.

        Returns:
            For a line that the model does not take, ``nbest`` times :data:`NO_TEXT`.
        """


def check_tokenizer(translator: TextTranslator, lines: Sequence[str]) -> None:
    """Refuse text whose symbols the model does not know.

    Raises:
        UserError: the share of unknown symbols in ``lines`` is above :data:`MOST_UNKNOWN`.
    """
    share = translator.unknown_share(lines)
    if share > MOST_UNKNOWN:
        raise UserError(
            f"{share:.0%} of the symbols in the first {len(lines)} lines are unknown to the model, more than "
            f"{MOST_UNKNOWN:.0%}: the tokenizer is not the model's, or the text is of another language; give "
            "the model's own --spm-model"
        )


def one_line(text: str) -> str:
    """``text`` with each line break as a space, so that it stays one line of a file whatever program reads it."""
    return " ".join(text.splitlines())
