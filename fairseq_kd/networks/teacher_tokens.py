"""The tokens that a teacher's own task puts around a sentence, and the symbols that only the teacher has.

A multilingual task tells its model the languages by tokens in the source, in the decoder's input, or in both. Its
dictionaries get these tokens behind the symbols of the dictionary files. The student's data has neither. Everything
that asks a teacher dresses the student's batch here, and reads the answer's part that is about the student's symbols.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor

from fairseq_kd.losses.chunk import NextTokens


@dataclass(frozen=True)
class TeacherTokens:
    """How one teacher wants its input, and how its answer is read. The student's ids are valid in the teacher.

    The teacher's distribution p over all its symbols becomes p(k) / (1 − m) over the student's symbols. m is p's mass
    on the symbols that only the teacher has. The result is p on the condition that none of these comes next. A softmax
    over the logits of the student's symbols gives it, at any temperature.

    Attributes:
        dictionaries: the teacher's, of source and target, with the symbols that its task appends.
        kept: number of the student's target symbols; they are the teacher's first.
        before: symbols in front of a source.
        behind: symbols at the end of a source, in the place of its ``</s>``.
        start: what the decoder reads before the first target token; ``</s>`` alone in a bilingual model.
        end: the symbol that ends a search; ``</s>`` in most models.
        record: what the tokens depend on, for manifests; empty where :attr:`plain` is true.
    """

    dictionaries: tuple[Dictionary, Dictionary]
    kept: int
    before: tuple[int, ...]
    behind: tuple[int, ...]
    start: tuple[int, ...]
    end: int
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether the teacher takes the student's batches as they are and has no symbol more."""
        eos = self.dictionaries[1].eos()
        usual = (self.before, self.behind, self.start, self.end) == ((), (eos,), (eos,), eos)
        return usual and self.kept == len(self.dictionaries[1])

    @property
    def more(self) -> tuple[int, int]:
        """How many tokens longer a source and a decoder input become."""
        return len(self.before) + len(self.behind) - 1, len(self.start) - 1

    @property
    def unseen(self) -> set[int]:
        """Target symbols that are no part of a translation's text: the tokens of the task, and all behind the kept."""
        own = {*self.start, self.end} - {self.dictionaries[1].eos()}
        return own | set(range(self.kept, len(self.dictionaries[1])))

    def source(self, sentence: Tensor) -> Tensor:
        """The teacher's source of one sentence, ids ending in ``</s>``, shape (length,)."""
        before, behind = (sentence.new_tensor(symbols) for symbols in (self.before, self.behind))
        return torch.cat([before, sentence[:-1], behind])

    def sources(self, net_input: dict[str, Any]) -> dict[str, Any]:
        """The source side of a batch's ``net_input`` as the teacher wants it; other entries stay.

        Args:
            net_input: with ``src_tokens``, shape (batch, length), padded on either side, and ``src_lengths``.
        """
        eos = self.dictionaries[0].eos()
        if (self.before, self.behind) == ((), (eos,)):
            return net_input
        tokens, pad = net_input["src_tokens"], self.dictionaries[0].pad()
        dressed, first = _widened(tokens, pad, len(self.before), len(self.behind) - 1)
        _write(dressed, first, self.before)
        # The place of </s>, the last real token of each row: (batch,).
        last = tokens.size(1) - 1 - tokens.ne(pad).flip(1).int().argmax(dim=1) + len(self.before)
        _write(dressed, last, self.behind)
        return {**net_input, "src_tokens": dressed, "src_lengths": net_input["src_lengths"] + self.more[0]}

    def batch(self, sample: dict[str, Any], real: Tensor) -> tuple[dict[str, Any], Tensor]:
        """The batch as the teacher wants it, and where in it the answers about the student's tokens stand.

        Args:
            sample: the student's batch.
            real: mask of its target tokens that count, shape (batch, length).

        Returns:
            A batch with ``net_input``, and a mask of the teacher's decoder positions, shape (batch, length and
            :attr:`more`). It has as many true entries as ``real``, in the same order.
        """
        net_input = self.sources(sample["net_input"])
        if self.start == (self.dictionaries[1].eos(),):
            return {**sample, "net_input": net_input}, real
        more = len(self.start) - 1
        previous, first = _widened(net_input["prev_output_tokens"], self.dictionaries[1].pad(), more, 0)
        _write(previous, first, self.start)  # its last symbol in the place of the student's </s>
        return {**sample, "net_input": {**net_input, "prev_output_tokens": previous}}, torch.cat(
            [torch.zeros_like(real[:, :1]).expand(-1, more), real], dim=1
        )

    def kept_part(self, answer: NextTokens) -> NextTokens:
        """The answer's part that is about the student's symbols: their logits alone. No copy is made."""
        if answer.vocabulary == self.kept:
            return answer
        if answer.weight is None:
            return NextTokens(answer.features[..., : self.kept])
        return NextTokens(
            answer.features, answer.weight[: self.kept], None if answer.bias is None else answer.bias[: self.kept]
        )


def plain_tokens(dictionaries: tuple[Dictionary, Dictionary]) -> TeacherTokens:
    """Those of a bilingual teacher with the student's dictionaries."""
    eos = dictionaries[1].eos()
    return TeacherTokens(dictionaries, len(dictionaries[1]), (), (eos,), (eos,), eos)


def _widened(tokens: Tensor, pad: int, front: int, back: int) -> tuple[Tensor, Tensor]:
    """Move all rows right by ``front`` and leave room for ``back`` more.

    Returns:
        Shape (batch, length + front + back); and the column where a row's room in front begins, (batch,). Its first
        real token stands ``front`` columns behind that.
    """
    wide = tokens.new_full((len(tokens), tokens.size(1) + front + back), pad)
    wide[:, front : front + tokens.size(1)] = tokens
    return wide, tokens.ne(pad).int().argmax(dim=1)


def _write(tokens: Tensor, first: Tensor, symbols: tuple[int, ...]) -> None:
    """Write the same symbols into each row, from its column ``first`` on, shape (batch,)."""
    for place, symbol in enumerate(symbols):
        tokens.scatter_(1, first[:, None] + place, symbol)
