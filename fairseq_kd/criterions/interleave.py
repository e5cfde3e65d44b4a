"""Several target sequences of each sentence in one batch, so that one forward of a model answers about all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from fairseq.data import Dictionary, data_utils
from fairseq.models import BaseFairseqModel
from torch import Tensor

from fairseq_kd.losses.chunk import NextTokens
from fairseq_kd.networks.distributions import next_tokens, previous_tokens, real_tokens
from fairseq_kd.networks.teacher import Teacher


@dataclass(frozen=True)
class Answer:
    """What models answer about one of the sequences of each sentence, in the order of its real tokens.

    Attributes:
        symbols: the tokens themselves, shape (tokens,).
        student: the student's distributions at these tokens.
        places: which of the interleaved batch's real tokens they are, shape (tokens,).
        of_all: the teacher's distributions at all real tokens of the interleaved batch; empty without a teacher.
    """

    symbols: Tensor
    student: NextTokens
    places: Tensor
    of_all: list[NextTokens]

    def teacher(self) -> list[NextTokens]:
        """The teacher's distributions at these tokens, one for each of its models."""
        return [select(one, self.places) for one in self.of_all]


def answers(
    student: BaseFairseqModel,
    teacher: Teacher | None,
    sample: dict[str, Any],
    sequences: Sequence[Tensor],
    symbols: Dictionary,
) -> Iterator[Answer]:
    """One forward of the student, and one of the teacher, about several sequences of each sentence.

    Args:
        student: the model that learns, wrapped for several processes or not.
        teacher: None where only the student is asked.
        sample: the batch; of it the sources are read.
        sequences: target sequences, each of shape (batch, own length), padded on either side.
        symbols: the target dictionary.

    Yields:
        For each of ``sequences`` the answer about its tokens.
    """
    target, batch = interleave(sample, sequences, symbols)  # (batch · sequences, longest)
    real = real_tokens(target, symbols.pad())
    own = next_tokens(student, batch, real)
    of_all = teacher.next_tokens(batch, real) if teacher else []
    flat = target[real]  # (all real tokens,)
    for number in range(len(sequences)):
        places = tokens_of(number, len(sequences), real)
        yield Answer(flat[places], select(own, places), places, of_all)


def interleave(
    sample: dict[str, Any], sequences: Sequence[Tensor], symbols: Dictionary
) -> tuple[Tensor, dict[str, Any]]:
    """Each sentence's sequences below each other, its source as often: the targets, and a model's input.

    This order keeps the sources sorted by length, as fairseq's LSTM expects.

    Args:
        sample: the batch.
        sequences: each of shape (batch, own length), padded on either side.
        symbols: the target dictionary.

    Returns:
        Targets of shape (batch · sequences, longest), and a batch with ``net_input`` for them.
    """
    # Rows: sentence 0 of sequences 0, 1, …, then sentence 1 of sequences 0, 1, …
    rows = [row for sentence in zip(*sequences, strict=True) for row in sentence]
    # Pad all rows to the longest one: (batch · sequences, longest).
    target = data_utils.collate_tokens(rows, symbols.pad())
    # What the decoder reads at each step: the target moved on by one, behind </s>.
    previous = previous_tokens(target, symbols)
    # src_tokens (batch, source length) and src_lengths (batch,), each row as often as there are sequences.
    source = {
        name: value.repeat_interleave(len(sequences), dim=0)
        for name, value in sample["net_input"].items()
        if name != "prev_output_tokens"
    }
    return target, {"net_input": {**source, "prev_output_tokens": previous}}


def tokens_of(number: int, count: int, real: Tensor) -> Tensor:
    """Places, among the interleaved batch's real tokens, of one sequence's tokens, in the order of this sequence.

    Args:
        number: of the sequence, from 0, in the order given to :func:`interleave`.
        count: how many sequences each sentence has.
        real: mask of the targets' real tokens, shape (batch · count, length).

    Returns:
        Shape (tokens of that sequence,).
    """
    # Row r of the batch holds sequence r mod count of its sentence: (batch · count,).
    sequence = torch.arange(len(real), device=real.device).remainder(count)
    # The sequence's number at each real token, row by row as target[real] lists them: (real tokens,).
    at_token = sequence[:, None].expand_as(real)[real]
    return at_token.eq(number).nonzero().squeeze(1)


def select(answer: NextTokens, tokens: Tensor) -> NextTokens:
    """The answer about these tokens alone, of the same kind; ``tokens`` are places in it, shape (tokens,)."""
    return replace(answer, features=answer.features.index_select(0, tokens))
