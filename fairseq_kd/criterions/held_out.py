"""The student's answer about the validation set, from which a learned gate sees what helps."""

import torch
from fairseq import utils

from fairseq_kd.gates.batch import HeldOut
from fairseq_kd.networks.distributions import evaluating, next_tokens, real_tokens
from fairseq_kd.tasks.translation_kd import TranslationKDTask


@torch.no_grad()
def held_out_answer(task: TranslationKDTask, chunk_memory: float) -> HeldOut:
    """The task's student, without dropout, about the validation batch of the current update.

    Raises:
        UserError: there is no validation set.
    """
    student, sample = task.student(), task.validation_batch()
    if next(student.parameters()).is_cuda:
        sample = utils.move_to_cuda(sample)
    real = real_tokens(sample["target"], task.target_dictionary.pad())  # (batch, length)
    with evaluating(student):
        return HeldOut(next_tokens(student, sample, real), sample["target"][real], chunk_memory)
