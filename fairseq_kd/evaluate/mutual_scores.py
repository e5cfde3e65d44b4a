"""Samples of two models, each scored by the other: what the risks of Wen et al. 2023 (Table 3) are made of."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.data import Dictionary
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask
from torch import Tensor

from fairseq_kd.decoding.interface import batches, out_of_memory
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.sampling.rollouts import draw_rollouts, drawn_tokens
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.options import SamplePlan
from fairseq_kd.losses.token_values import token_nll
from fairseq_kd.networks.distributions import next_tokens, previous_tokens, real_tokens

STREAMS = {"teacher": 0, "student": 2**31}
"""Added to a sample's number to seed it, so that the two models' samples are independent.

The teacher's samples are those that `fairseq-kd decode --sampling` draws with the same seed.
"""
RISKS = {"teacher": "coverage", "student": "likelihood"}
"""The risk that the other model's scores of a model's samples measure."""


@dataclass(frozen=True)
class Measured:
    """What was measured on a subset.

    Attributes:
        figures: each source's figures by name, shape (sources,), in the subset's order.
        skipped: how many sources were left out.
        cut: how many samples of each model reached the longest length.
        longest: that length in tokens, as asked for or as the models' positions allow.
    """

    figures: dict[str, np.ndarray]
    skipped: int
    cut: dict[str, int]
    longest: int


@dataclass(frozen=True)
class Samples:
    """One sample for each source of a batch.

    Attributes:
        targets: as :func:`fairseq_kd.decoding.sampling.rollouts.draw_rollouts` gives them, shape (batch, length).
        counted: mask of the tokens that were drawn, shape (batch, length).
        symbols: each sample's symbol numbers, without ``</s>``.
        cut: how many reached the longest length.
    """

    targets: Tensor
    counted: Tensor
    symbols: list[list[int]]
    cut: int


def distinct_bigrams(samples: Sequence[Sequence[int]]) -> float:
    """The share of distinct bigrams among all bigrams of one source's samples; 0 where there are none.

    It is 1 where no bigram occurs twice, and 1 / (number of samples) where all samples are the same and repeat none.
    """
    bigrams = [pair for sample in samples for pair in pairwise(sample)]
    return len(set(bigrams)) / max(1, len(bigrams))


@torch.no_grad()
def sequence_nll(
    model: BaseFairseqModel, sample: dict[str, Any], targets: Tensor, counted: Tensor, symbols: Dictionary
) -> Tensor:
    """−log of the probability that the model gives to each sequence, shape (batch,), float64, in nats.

    Args:
        model: any fairseq encoder-decoder.
        sample: the batch; only the source of its ``net_input`` is read.
        targets: the sequences, shape (batch, length), as
            :func:`fairseq_kd.decoding.sampling.rollouts.draw_rollouts` gives them.
        counted: mask of the tokens whose probabilities count, shape (batch, length).
        symbols: the target dictionary.
    """
    asked = {"net_input": {**sample["net_input"], "prev_output_tokens": previous_tokens(targets, symbols)}}
    nll = torch.zeros(targets.shape, dtype=torch.float64, device=targets.device)
    nll[counted] = token_nll(next_tokens(model, asked, counted), targets[counted]).double()
    return nll.sum(dim=1)


class Measurement:
    """Draws samples from two models and lets each model score the other's samples.

    Args:
        task: with ``subset`` loaded.
        subset: the split.
        teacher: in eval mode.
        student: in eval mode; None to draw the teacher's samples alone and to measure "teacher_dist" alone.
        plan: what is drawn.

    Raises:
        UserError: every source of the split is empty or longer than the models' positions.
    """

    def __init__(
        self,
        task: TranslationTask,
        subset: str,
        teacher: BaseFairseqModel,
        student: BaseFairseqModel | None,
        plan: SamplePlan,
    ):
        self.dataset, self.dictionary, self.plan = task.dataset(subset), task.target_dictionary, plan
        self.models: dict[str, tuple[BaseFairseqModel, BaseFairseqModel | None]] = {"teacher": (teacher, student)}
        if student is not None:
            self.models["student"] = (student, teacher)
        positions = zip(*(model.max_positions() for model, _ in self.models.values()), strict=True)
        source, target = (int(min(side)) for side in positions)
        self.lengths = {row: int(size) for row, size in enumerate(self.dataset.src_sizes) if 1 < size <= source}
        if not self.lengths:
            raise UserError(
                f"subset {subset!r}: every source is empty or longer than the models' positions; give another --subset"
            )
        self.sampling = replace(plan.sampling, max_len_b=min(plan.sampling.max_len_b, target - 1))

    def run(self, progress: Callable[[int], object]) -> Measured:
        """Measure all rows; ``progress`` is called with the number of samples that each step adds.

        Raises:
            UserError: a batch does not fit the GPU, or top-k is larger than the vocabulary.
        """
        figures: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(self.dataset)))
        cut = dict.fromkeys(self.models, 0)
        for batch in batches(self.lengths, self.plan.max_tokens):
            sample = self.dataset.collater([self.dataset[row] for row in batch])
            rows = sample["id"].numpy()
            try:
                sample = utils.move_to_cuda(sample) if torch.cuda.is_available() else sample
                for side in self.models:
                    found, cut_here = self._measure(sample, side, progress)
                    cut[side] += cut_here
                    for name, values in found.items():
                        figures[name][rows] = values
            except torch.cuda.OutOfMemoryError:
                raise out_of_memory(DecodingOptions(max_tokens=self.plan.max_tokens)) from None
        taken = sorted(self.lengths)
        kept = {name: values[taken] for name, values in figures.items()}
        return Measured(kept, len(self.dataset) - len(taken), cut, self.sampling.max_len_b)

    def _measure(
        self, sample: dict[str, Any], side: str, progress: Callable[[int], object]
    ) -> tuple[dict[str, Any], int]:
        """A batch's figures from one model's samples, shape (batch,), and how many samples were cut."""
        model, other = self.models[side]
        found: dict[str, list[Any]] = defaultdict(list)
        drawn = []
        for number in range(self.plan.samples):
            one = self._draw(model, sample, (self.plan.seed, STREAMS[side] + number))
            drawn.append(one)
            if other is not None:
                nll = sequence_nll(other, sample, one.targets, one.counted, self.dictionary).cpu().numpy()
                found[RISKS[side]].append(nll)
                found[f"{RISKS[side]}_per_token"].append(nll / one.counted.sum(dim=1).cpu().numpy())
            progress(len(one.targets))
        figures: dict[str, Any] = {name: np.mean(each, axis=0) for name, each in found.items()}
        if side == "teacher":
            of_each_input = zip(*(one.symbols for one in drawn), strict=True)
            figures["teacher_dist"] = [distinct_bigrams(samples) for samples in of_each_input]
        return figures, sum(one.cut for one in drawn)

    def _draw(self, model: BaseFairseqModel, sample: dict[str, Any], seed: tuple[int, int]) -> Samples:
        targets = draw_rollouts([model], sample, self.sampling, seed, self.dictionary)
        real = real_tokens(targets, self.dictionary.pad())
        limits = real.new_full((len(real),), self.sampling.max_len_b, dtype=torch.long)
        counted = drawn_tokens(targets, limits, self.dictionary.pad())
        cut = counted.ne(real).any(dim=1)
        words = real & targets.ne(self.dictionary.eos())
        symbols = [row[kept].tolist() for row, kept in zip(targets, words, strict=True)]
        return Samples(targets, counted, symbols, int(cut.sum()))
