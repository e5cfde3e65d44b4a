"""Which of a student's symbols stands for the beginning of each of a teacher's symbols."""

import torch
from fairseq.data import Dictionary
from torch import Tensor

from fairseq_kd.data.text.segmentation import surfaces


def symbol_map(teacher: Dictionary, student: Dictionary, *, words: bool) -> Tensor:
    """The student's symbol for each of the teacher's symbols.

    It is the same symbol where the student has it, otherwise the longest symbol of the student with which the
    teacher's begins: at a common boundary a text that goes on with the teacher's symbol goes on with the student's.
    A word must be the same.

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
    longest = max(map(len, own), default=0)
    nowhere = len(student)

    def place(index: int, surface: str) -> int:
        if index in by_role:
            return by_role[index]
        if surface in own or words:
            return own.get(surface, nowhere)
        beginnings = (surface[:size] for size in range(min(len(surface), longest), 0, -1))
        return next((own[one] for one in beginnings if one in own), nowhere)

    return torch.tensor([place(index, symbol) for index, symbol in enumerate(teacher.symbols)])
