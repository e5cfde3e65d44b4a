"""Translations that are sampled from a model, not searched for."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from fairseq.tasks.translation import TranslationTask
from torch import Tensor

from fairseq_kd.decoding.fairseq_engine import FairseqEngine
from fairseq_kd.decoding.interface import NOT_TRANSLATED, Hypothesis, Progress, TooFew, batches, out_of_memory
from fairseq_kd.decoding.options import DecodingOptions, Sampling
from fairseq_kd.decoding.sampling.rollouts import draw_rollouts
from fairseq_kd.errors import UserError
from fairseq_kd.networks.distributions import previous_tokens, real_tokens
from fairseq_kd.networks.teacher import Teacher
from fairseq_kd.networks.teacher_tokens import TeacherTokens


def check_seed(seed: int) -> None:
    """Check that ``seed`` has at most 32 bits.

    Raises:
        UserError: it has more, or is negative.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed {seed}: give a number from 0 to {2**32 - 1}")


class Sampler(FairseqEngine):
    """Draws translations from one model, each row with its own random numbers.

    Raises:
        UserError: there are several checkpoints, or :class:`FairseqEngine` raises it.
    """

    def __init__(
        self,
        model_paths: Sequence[str],
        task: TranslationTask,
        states: Sequence[dict[str, Any]] | None = None,
        tokens: TeacherTokens | None = None,
    ):
        if len(model_paths) > 1:
            raise UserError(f"--sampling draws from a single model, not from {len(model_paths)}")
        super().__init__(model_paths, task, states, tokens)
        # Its ids are the first of the model's, so that no symbol of the model's own task is drawn.
        self.dictionary = task.target_dictionary
        self.teacher = Teacher(self.models, tokens=[self.tokens])
        self.teacher.paths = str(model_paths[0])

    @torch.no_grad()
    def draw(
        self,
        sources: Sequence[Tensor],
        first_row: int,
        options: DecodingOptions,
        sampling: Sampling,
        seed: int,
        progress: Progress,
    ) -> list[list[Hypothesis]]:
        """Draw ``options.nbest`` samples of each source; the result has the form of :meth:`Engine.translate`.

        A row's samples depend on the row's number and source, the seed, the sampling options and the model alone. The
        scores are of the model's whole distribution at temperature 1, also where the samples are from less of it.

        Args:
            sources: token ids ending in ``</s>``, one LongTensor of shape (length,) a sentence.
            first_row: the number in its split of the first source.
            options: number of samples and size of batches.
            sampling: temperature, truncation and length limit.
            seed: of all samples.
            progress: called with the number of sentences that were finished since the last call.

        Raises:
            UserError: a batch does not fit the GPU, or top-k is larger than the vocabulary.
        """
        found = [[NOT_TRANSLATED] * options.nbest for _ in sources]
        usable = {i: len(source) for i, source in enumerate(sources) if self.takes(source)}
        progress(len(sources) - len(usable))
        for batch in batches(usable, options.max_tokens):
            sample: dict[str, Any] = self._collated([sources[i] for i in batch])
            sample["id"] = torch.tensor([first_row + i for i in batch])
            try:
                drawn = [self._hypotheses(sample, sampling, (seed, rank)) for rank in range(options.nbest)]
            except torch.cuda.OutOfMemoryError:
                raise out_of_memory(options) from None
            for i, hypotheses in zip(batch, zip(*drawn, strict=True), strict=True):
                if not all(math.isfinite(hypothesis.score) for hypothesis in hypotheses):
                    raise TooFew(i, 0, options.nbest)
                found[i] = list(hypotheses)
            progress(len(batch))
        return found

    def _hypotheses(self, sample: dict[str, Any], sampling: Sampling, seed: tuple[int, int]) -> list[Hypothesis]:
        dictionary = self.dictionary
        targets = draw_rollouts(self.models, sample, sampling, seed, dictionary, self.teacher.tokens)
        real = real_tokens(targets, dictionary.pad())
        asked = {"net_input": {**sample["net_input"], "prev_output_tokens": previous_tokens(targets, dictionary)}}
        (answers,) = self.teacher.next_tokens(asked, real)
        hypotheses, end = [], 0
        for row, size in zip(targets, real.sum(dim=1).tolist(), strict=True):
            start_of_row, end = end, end + size
            log_probs = torch.log_softmax(answers.logits(slice(start_of_row, end)), dim=-1)
            score = log_probs.gather(1, row[:size, None]).mean().item() / math.log(2)
            hypotheses.append(Hypothesis.of_length(dictionary.string(row[:size].cpu()), score, size))
        return hypotheses
