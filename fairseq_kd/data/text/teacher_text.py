"""A batch's text in the pieces of a teacher whose vocabulary is not the student's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from fairseq.data import Dictionary, data_utils
from torch import Tensor

from fairseq_kd.data.text.pieces import load_spm
from fairseq_kd.data.text.segmentation import Alignment, align, detokenised, surfaces
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import split_paths

Dictionaries = tuple[Dictionary, Dictionary]
"""Source and target."""


@dataclass(frozen=True)
class TeacherRow:
    """One sentence pair in the teacher's pieces.

    Attributes:
        source: the teacher's symbols, shape (length,), ``</s>`` at the end.
        target: the same of the target.
        student_length: number of the student's target symbols, all but padding.
        alignment: of the target's symbols. The ``</s>`` at their end is a pair; one within is aligned with nothing.
    """

    source: Tensor
    target: Tensor
    student_length: int
    alignment: Alignment


class TeacherText:
    """Joins a student's symbols to text, cuts the text anew with the teacher's sentencepiece model, and aligns both.

    Args:
        models: the teacher's sentencepiece models for source and target.
        teacher: its dictionaries.
        student: the student's dictionaries.
        words: whether the student's symbols are words; otherwise they are sentencepiece's pieces.
    """

    def __init__(
        self,
        models: Sequence[sentencepiece.SentencePieceProcessor],
        teacher: Dictionaries,
        student: Dictionaries,
        *,
        words: bool,
    ):
        self.models, self.teacher, self.student = tuple(models), teacher, student
        self.surfaces = [surfaces(one.symbols, one.unk_word, words=words) for one in student]

    def row(self, source: Tensor, target: Tensor) -> TeacherRow:
        """One sentence pair, given in the student's symbols; padding and ``</s>`` may be among them."""
        _, source_text = self._text(0, source)
        _, _, source_ids = self._cut(0, source_text)
        places, student_ids = self._text(1, target)
        own, pieces, target_ids = self._cut(1, student_ids)
        real = target[target != self.student[1].pad()].tolist()
        alignment = self._known(align(own, pieces), student_ids, target_ids).moved(places)
        if real[-1:] == [self.student[1].eos()] and (alignment.whole or alignment.pairs or alignment.spans):
            alignment.pairs.append((len(real) - 1, len(target_ids) - 1))  # </s> follows the same text on both sides
        return TeacherRow(torch.tensor(source_ids), torch.tensor(target_ids), len(real), alignment)

    def _text(self, side: int, symbols: Tensor) -> tuple[list[int], list[int]]:
        """The places in ``symbols[symbols != pad]`` of the symbols that stand for text, and these symbols."""
        dictionary = self.student[side]
        real = symbols[symbols != dictionary.pad()]
        places = real.ne(dictionary.eos()).nonzero().flatten()
        return places.tolist(), real[places].tolist()

    def _cut(self, side: int, symbols: Sequence[int]) -> tuple[list[str], list[str], list[int]]:
        """Surfaces of student and teacher, and the teacher's symbols with ``</s>``."""
        surface, theirs = self.surfaces[side], self.teacher[side]
        own = [surface[symbol] for symbol in symbols]
        pieces = self.models[side].encode(detokenised(own), out_type=str)
        known, unknown = theirs.indices, theirs.unk()
        # A piece "<pad>" is text that the teacher does not know: the symbol itself would count as padding.
        ids = (known.get(piece, unknown) if piece != theirs.pad_word else unknown for piece in pieces)
        return own, pieces, [*ids, theirs.eos()]

    def _known(self, found: Alignment, student: Sequence[int], teacher: Sequence[int]) -> Alignment:
        """Without spans in which only one side has an unknown symbol: its probability is that of any unknown text."""
        own, theirs = self.student[1].unk(), self.teacher[1].unk()
        if own not in student and theirs not in teacher:
            return found
        pairs = [(i, j) for i, j in found.pairs if (student[i] == own) == (teacher[j] == theirs)]
        spans = [
            (i, i_end, j, j_end)
            for i, i_end, j, j_end in found.spans
            if (own in student[i:i_end]) == (theirs in teacher[j:j_end])
        ]
        return Alignment(pairs, spans, found.whole)

    def batch(self, rows: Sequence[TeacherRow], *, left_pad_source: bool, left_pad_target: bool) -> dict[str, Any]:
        """The teacher's batch, and what of it is compared with which of the student's tokens.

        Tokens are counted as ``target[target != pad]`` lists them, in the student's batch and in the teacher's.

        Args:
            rows: in the order of the student's batch. The teacher's is sorted by its own source lengths, as fairseq's
                LSTM expects.
            left_pad_source: pad sources on the left.
            left_pad_target: pad targets on the left.

        Returns:
            ``net_input`` and ``target`` as fairseq has them, and

            - ``pairs``, (2, pairs): places of equal tokens, the student's and the teacher's;
            - ``positions``, (2, positions): places of the first tokens of each row, as many as the shorter side has;
            - ``student_spans`` and ``teacher_spans``, (2, tokens): the place of each token in a span and the span's
              number, from 0; ``spans`` is how many there are;
            - ``unaligned``: number of rows whose characters differ.
        """
        order = sorted(range(len(rows)), key=lambda row: -len(rows[row].source))
        dictionary = self.teacher[1]
        sources, targets = [rows[row].source for row in order], [rows[row].target for row in order]

        def collated(tokens: Sequence[Tensor], *, left: bool, moved: bool = False) -> Tensor:
            return data_utils.collate_tokens(
                tokens, dictionary.pad(), dictionary.eos(), left_pad=left, move_eos_to_beginning=moved
            )

        net_input = {
            "src_tokens": collated(sources, left=left_pad_source),
            "src_lengths": torch.tensor([len(source) for source in sources]),
            "prev_output_tokens": collated(targets, left=left_pad_target, moved=True),
        }
        places = _places(rows, order)
        return {"net_input": net_input, "target": collated(targets, left=left_pad_target), **places}


def _places(rows: Sequence[TeacherRow], order: Sequence[int]) -> dict[str, Any]:
    """The entries of :meth:`TeacherText.batch` about places."""
    own_first = np.cumsum([0, *(row.student_length for row in rows)])
    theirs_first = dict(zip(order, np.cumsum([0, *(len(rows[row].target) for row in order)]), strict=False))
    pairs, positions, own_spans, their_spans, number = [], [], [], [], 0
    for place, row in enumerate(rows):
        own, theirs = int(own_first[place]), int(theirs_first[place])
        pairs += [(own + i, theirs + j) for i, j in row.alignment.pairs]
        positions += [(own + step, theirs + step) for step in range(min(row.student_length, len(row.target)))]
        for i, i_end, j, j_end in row.alignment.spans:
            own_spans += [(own + token, number) for token in range(i, i_end)]
            their_spans += [(theirs + token, number) for token in range(j, j_end)]
            number += 1
    lists = {"pairs": pairs, "positions": positions, "student_spans": own_spans, "teacher_spans": their_spans}
    tensors = {name: torch.tensor(entries, dtype=torch.long).view(-1, 2).t() for name, entries in lists.items()}
    return {**tensors, "spans": number, "unaligned": sum(not row.alignment.whole for row in rows)}


def that_fits(text: dict[str, Any], most: Sequence[int], pad: int) -> tuple[dict[str, Any], int]:
    """The rows of a batch that a teacher has positions for, and the number of all others.

    fairseq leaves out long rows by the student's tokens, so a row can be too long in the teacher's pieces. Nothing of
    such a row is compared.

    Args:
        text: from :meth:`TeacherText.batch`.
        most: the teacher's positions for source and target.
        pad: the teacher's.
    """
    net_input, target = text["net_input"], text["target"]
    if net_input["src_tokens"].size(1) <= most[0] and target.size(1) <= most[1]:
        return text, 0
    real = target.ne(pad)  # (rows, length)
    kept = net_input["src_lengths"].le(most[0]) & real.sum(dim=1).le(most[1])  # (rows,)

    def rows(tokens: Tensor) -> Tensor:
        """Without the columns that only the long rows fill."""
        left = tokens[kept]
        return left[:, left.ne(pad).any(dim=0)]

    made = {
        "net_input": {name: rows(one) if one.dim() == 2 else one[kept] for name, one in net_input.items()},
        "target": rows(target),
        **_places_that_stay(text, kept[:, None].expand_as(real)[real]),
    }
    return {**text, **made}, len(target) - len(made["target"])


def _places_that_stay(text: dict[str, Any], stays: Tensor) -> dict[str, Any]:
    """The entries about places where ``stays``, (teacher's tokens,), tells which of the teacher's tokens are left."""
    place = stays.cumsum(dim=0) - 1  # of each token among those left
    made: dict[str, Any] = {
        name: torch.stack([own, place[theirs]])[:, stays[theirs]]
        for name in ("pairs", "positions")
        for own, theirs in [text[name]]
    }
    (own, own_spans), (theirs, their_spans) = text["student_spans"], text["teacher_spans"]
    # The same of the spans, (spans,). All tokens of a span are in one row.
    spans_stay = torch.zeros(text["spans"], dtype=torch.bool, device=stays.device)
    spans_stay[their_spans[stays[theirs]]] = True
    number = spans_stay.cumsum(dim=0) - 1
    made["student_spans"] = torch.stack([own, number[own_spans]])[:, spans_stay[own_spans]]
    made["teacher_spans"] = torch.stack([place[theirs], number[their_spans]])[:, stays[theirs]]
    return made | {"spans": int(spans_stay.sum())}


def read_sentencepiece(paths: str) -> list[sentencepiece.SentencePieceProcessor]:
    """The models of --teacher-spm for source and target: ``MODEL``, or ``SOURCE:TARGET``.

    Raises:
        UserError: more than two files, or one is missing or not a sentencepiece model.
    """
    files = split_paths(paths)
    if len(files) not in (1, 2):
        raise UserError(f"--teacher-spm {paths}: give one model for both sides, or SOURCE:TARGET")
    models = [load_spm(Path(file), "--teacher-spm") for file in files]
    return [models[0], models[-1]]
