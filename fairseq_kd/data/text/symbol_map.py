"""Which of a student's symbols stands for the beginning of each of a teacher's symbols."""

import torch
from fairseq.data import Dictionary
from torch import Tensor

from fairseq_kd.data.text.segmentation import surfaces
from fairseq_kd.data.text.subwords import BYTE, written


def symbol_map(teacher: Dictionary, student: Dictionary, *, words: bool) -> Tensor:
    """The student's symbol for each of the teacher's symbols.

    It is the same symbol where the student has it, otherwise the longest symbol of the student with which the
    teacher's begins: at a common boundary a text that goes on with the teacher's symbol goes on with the student's.
    It may be a byte-fallback piece, the first byte of a character that the student lacks. A word must be the same.

    Args:
        teacher: the teacher's target dictionary, sentencepiece's pieces.
        student: the student's target dictionary.
        words: whether the student's symbols are words; otherwise they are pieces.

    Returns:
        Shape (teacher's vocabulary,); ``len(student)`` where no symbol of the student stands for the teacher's.
    """
    own = dict(zip(surfaces(student.symbols, student.unk_word, words=words), range(len(student)), strict=True))
    # The special symbols have roles, whatever their names, and begin no text.
    by_role = {getattr(teacher, name)(): getattr(student, name)() for name in ("bos", "pad", "eos", "unk")}
    own = {surface: index for surface, index in own.items() if index not in by_role.values()}
    # Where a character and its byte are both symbols, text is written with the character, which comes last here.
    in_bytes = {written(surface): own[surface] for surface in sorted(own, key=lambda one: BYTE.fullmatch(one) is None)}
    longest = max(map(len, in_bytes), default=0)
    nowhere = len(student)

    def place(index: int, surface: str) -> int:
        if index in by_role:
            return by_role[index]
        if surface in own or words:
            return own.get(surface, nowhere)
        text = written(surface)
        beginnings = (text[:size] for size in range(min(len(text), longest), 0, -1))
        return next((in_bytes[one] for one in beginnings if one in in_bytes), nowhere)

    return torch.tensor([place(index, symbol) for index, symbol in enumerate(teacher.symbols)])
