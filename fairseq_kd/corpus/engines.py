"""What turns source sentences into translations: one interface, and one class for each decoder behind it."""

import argparse
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from fairseq import utils
from fairseq.data import data_utils
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.checkpoints import build_models, read_checkpoint
from fairseq_kd.errors import UserError
from fairseq_kd.vocabulary import check_vocabulary

logger = logging.getLogger(__name__)

Progress = Callable[[int], object]


@dataclass(frozen=True)
class DecodingOptions:
    """How to search; the names and defaults are fairseq-generate's.

    A hypothesis has at most ``max_len_a`` × (padded source length, ``</s>`` counted) + ``max_len_b`` tokens.

    Raises:
        UserError: a value is out of range.
    """

    beam: int = 5
    nbest: int = 1
    max_len_a: float = 0.0
    max_len_b: int = 200
    max_tokens: int = 4000
    """Source tokens in a batch, padding counted; a longer sentence makes a batch of its own."""

    def __post_init__(self) -> None:
        for name in ("beam", "nbest", "max_len_b", "max_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: give 1 or more")
        if not (self.max_len_a >= 0 and math.isfinite(self.max_len_a)):
            raise UserError(f"--max-len-a {self.max_len_a}: give 0 or more")
        if self.nbest > self.beam:
            raise UserError(
                f"--nbest {self.nbest}: a beam of {self.beam} cannot give as many; give --beam {self.nbest}"
            )


@dataclass(frozen=True)
class Hypothesis:
    """One translation.

    Attributes:
        tokens: subwords separated by spaces, without ``</s>``.
        score: log-probability to the base 2 divided by the number of tokens (``</s>`` counted), as fairseq-generate
            prints it.
    """

    tokens: str
    score: float


NOT_TRANSLATED = Hypothesis("", 0.0)
"""What stands for each translation of an empty source, or of one longer than the model takes."""


class Engine(Protocol):
    """A model ready to decode.

    Attributes:
        parameters: how many the models have, all together.
    """

    parameters: int

    def takes(self, source: torch.Tensor) -> bool:
        """Whether a source is translated at all: it is not empty and within the model's positions."""

    def translate(
        self, sources: Sequence[torch.Tensor], options: DecodingOptions, progress: Progress | None = None
    ) -> list[list[Hypothesis]]:
        """The ``options.nbest`` best translations of each source, best first, in the order of ``sources``.

        Args:
            sources: token ids ending in ``</s>``, one LongTensor of shape (length,) a sentence.
            options: how to search.
            progress: called with a number of sentences whenever so many more are done.
        """


class FairseqEngine:
    """fairseq's own beam search, on the GPU if there is one; several checkpoints are decoded as an ensemble.

    Attributes:
        models: the models, in eval mode, made fast for generation (they can no longer be trained).
        parameters: how many they have, all together.
        max_source_positions: the longest source that all of them take, ``</s>`` counted.
    """

    def __init__(self, model_paths: Sequence[str], task: TranslationTask):
        """Load the checkpoints with ``task``'s dictionaries.

        Raises:
            UserError: as :func:`fairseq_kd.checkpoints.build_models`, or a model's dictionary is not the task's.
        """
        self.task = task
        self.cuda = torch.cuda.is_available()
        for path in model_paths:
            not_found = check_vocabulary(path, read_checkpoint(path, "model"), task, "model")
            if not_found:
                logger.warning("model %s: %s; nothing proves that it numbers symbols as the data does", path, not_found)
        self.models = build_models(model_paths, task, role="model")
        # A tied matrix counts once, buffers (such as sinusoidal positions) not at all.
        self.parameters = sum(parameter.numel() for model in self.models for parameter in model.parameters())
        for model in self.models:
            model.make_generation_fast_(need_attn=False)
            if self.cuda:
                model.cuda()
        self.max_source_positions = min(model.max_positions()[0] for model in self.models)

    def translate(
        self, sources: Sequence[torch.Tensor], options: DecodingOptions, progress: Progress | None = None
    ) -> list[list[Hypothesis]]:
        """As :meth:`Engine.translate`.

        Raises:
            UserError: a batch does not fit the GPU, or the search gives fewer than ``nbest`` hypotheses.
        """
        search = argparse.Namespace(beam=options.beam, max_len_a=options.max_len_a, max_len_b=options.max_len_b)
        generator = self.task.build_generator(self.models, search)
        found = [[NOT_TRANSLATED] * options.nbest for _ in sources]
        usable = {i: len(source) for i, source in enumerate(sources) if self.takes(source)}
        if progress:
            progress(len(sources) - len(usable))
        for batch in batches(usable, options.max_tokens):
            sample = self._sample([sources[i] for i in batch])
            try:
                nbest_lists = self.task.inference_step(generator, self.models, sample)
            except torch.cuda.OutOfMemoryError:
                raise UserError(
                    f"the GPU's memory is too small for --max-tokens {options.max_tokens}: lower it"
                ) from None
            for i, hypotheses in zip(batch, nbest_lists, strict=True):
                found[i] = self._read(hypotheses, options.nbest)
            if progress:
                progress(len(batch))
        return found

    def takes(self, source: torch.Tensor) -> bool:
        """As :meth:`Engine.takes`."""
        return 1 < len(source) <= self.max_source_positions

    def _sample(self, sources: Sequence[torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
        tokens = data_utils.collate_tokens(
            sources, self.task.source_dictionary.pad(), left_pad=self.task.cfg.left_pad_source
        )
        lengths = torch.tensor([len(source) for source in sources])
        sample = {"net_input": {"src_tokens": tokens, "src_lengths": lengths}}
        return utils.move_to_cuda(sample) if self.cuda else sample

    def _read(self, hypotheses: Sequence[dict[str, torch.Tensor]], nbest: int) -> list[Hypothesis]:
        if len(hypotheses) < nbest:
            raise UserError(
                f"the search found {len(hypotheses)} hypotheses for a sentence, --nbest asks for {nbest}: "
                "lower it, or look for NaN in the model"
            )
        dictionary = self.task.target_dictionary
        return [
            Hypothesis(dictionary.string(hypothesis["tokens"].cpu()), float(hypothesis["score"]) / math.log(2))
            for hypothesis in hypotheses[:nbest]
        ]


def batches(lengths: dict[int, int], max_tokens: int) -> Iterator[list[int]]:
    """Cut sentences, given as {index: length}, into batches of similar lengths, the longest sentences first.

    A batch's longest sentence times its size is at most ``max_tokens``, unless it is a single sentence.
    """
    batch: list[int] = []
    for i in sorted(lengths, key=lambda i: (-lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > max_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


ENGINES: dict[str, Callable[[Sequence[str], TranslationTask], Engine]] = {"fairseq": FairseqEngine}


def build_engine(name: str, model_paths: Sequence[str], task: TranslationTask) -> Engine:
    """The engine called ``name`` over one model or, with several paths, their ensemble.

    Raises:
        UserError: there is no such engine, or a checkpoint cannot be used.
    """
    if name not in ENGINES:
        raise UserError(f"--engine {name}: there is no such engine; choose from {', '.join(ENGINES)}")
    return ENGINES[name](model_paths, task)
