"""fairseq's own beam search behind the interface."""

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from fairseq import utils
from fairseq.data import data_utils
from fairseq.sequence_generator import SequenceGenerator
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.databins.databin import translation_task
from fairseq_kd.decoding.interface import (
    NOT_TRANSLATED,
    Hypothesis,
    Progress,
    TooFew,
    batches,
    out_of_memory,
    prefix_symbols,
)
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.repetition import RepeatBlocker
from fairseq_kd.networks.checkpoints import build_models
from fairseq_kd.networks.parameters import count_parameters
from fairseq_kd.networks.teacher_tokens import TeacherTokens, plain_tokens

Search = Callable[[Sequence[torch.Tensor]], list[list[dict[str, torch.Tensor]]]]
"""Searches the translations of sources: for each a list of hypotheses, best first."""


class FairseqEngine:
    """fairseq's own beam search, on the GPU if there is one. Several checkpoints decode as an ensemble.

    Attributes:
        models: the models, in eval mode, made fast for generation (they can no longer be trained).
        parameters: how many they have, all together.
        max_source_positions: the longest source that all of them take, ``</s>`` counted.
    """

    def __init__(
        self,
        model_paths: Sequence[str],
        task: TranslationTask,
        states: Sequence[dict[str, Any]] | None = None,
        tokens: TeacherTokens | None = None,
    ):
        """Load the checkpoints with ``task``'s dictionaries.

        Args:
            model_paths: the files.
            task: whose dictionaries the models have.
            states: the files' contents, where :func:`fairseq_kd.networks.checkpoints.read_checkpoint` has read them.
            tokens: of the models' own task; None: they take the data's sources as they are.

        Raises:
            UserError: as :func:`fairseq_kd.networks.checkpoints.build_models`.
        """
        self.tokens = tokens or plain_tokens((task.source_dictionary, task.target_dictionary))
        if not self.tokens.plain:
            languages = task.cfg.source_lang, task.cfg.target_lang
            task = translation_task(task.cfg.data, *languages, self.tokens.dictionaries)
        self.task = task
        self.cuda = torch.cuda.is_available()
        self.models = build_models(model_paths, task, "model", states)
        self.parameters = sum(map(count_parameters, self.models))
        for model in self.models:
            model.make_generation_fast_(need_attn=False)
            if self.cuda:
                model.cuda()
        self.max_source_positions = min(model.max_positions()[0] for model in self.models) - self.tokens.more[0]

    def translate(
        self, sources: Sequence[torch.Tensor], options: DecodingOptions, progress: Progress | None = None
    ) -> list[list[Hypothesis]]:
        """As :meth:`Engine.translate`.

        Raises:
            UserError: a batch does not fit the GPU, the search gives fewer than ``nbest`` hypotheses, the dictionary
                lacks a token of the prefix, or the options ask for patience.
        """
        options.require("fairseq")
        search = self._searcher(options)
        found = [[NOT_TRANSLATED] * options.nbest for _ in sources]
        usable = {i: len(source) for i, source in enumerate(sources) if self.takes(source)}
        if progress:
            progress(len(sources) - len(usable))
        for batch in batches(usable, options.max_tokens):
            try:
                nbest_lists = search([sources[i] for i in batch])
            except torch.cuda.OutOfMemoryError:
                raise out_of_memory(options) from None
            except AssertionError:  # fairseq's search reached its last step without an end: every score is NaN
                raise TooFew(_endless(search, batch, sources), 0, options.nbest) from None
            for i, hypotheses in zip(batch, nbest_lists, strict=True):
                found[i] = self._read(i, hypotheses, options)
            if progress:
                progress(len(batch))
        return found

    def _searcher(self, options: DecodingOptions) -> Search:
        start = self.tokens.start
        prefix = [*start[1:], *prefix_symbols(options.prefix, self.task.target_dictionary)]
        generator = self._generator(options, len(prefix))

        def search(sources: Sequence[torch.Tensor]) -> list[list[dict[str, torch.Tensor]]]:
            sample = self._collated([self.tokens.source(source) for source in sources])
            given = torch.tensor([prefix] * len(sources), device="cuda" if self.cuda else "cpu") if prefix else None
            return generator.generate(self.models, sample, prefix_tokens=given, bos_token=start[0])

        return search

    def takes(self, source: torch.Tensor) -> bool:
        """As :meth:`Engine.takes`."""
        return 1 < len(source) <= self.max_source_positions

    def _collated(self, sources: Sequence[torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
        tokens = data_utils.collate_tokens(
            sources, self.task.source_dictionary.pad(), left_pad=self.task.cfg.left_pad_source
        )
        lengths = torch.tensor([len(source) for source in sources])
        sample = {"net_input": {"src_tokens": tokens, "src_lengths": lengths}}
        return utils.move_to_cuda(sample) if self.cuda else sample

    def _generator(self, options: DecodingOptions, prefix_length: int) -> SequenceGenerator:
        search = argparse.Namespace(
            beam=options.beam,
            max_len_a=options.max_len_a,
            max_len_b=options.max_len_b,
            lenpen=options.lenpen,
            unkpen=math.inf if options.no_unk else 0,
        )
        generator = self.task.build_generator(self.models, search, extra_gen_cls_kwargs={"eos": self.tokens.end})
        if options.no_repeat_ngram_size:
            generator.repeat_ngram_blocker = RepeatBlocker(options.no_repeat_ngram_size, prefix_length)
        return generator

    def _read(
        self, sentence: int, hypotheses: Sequence[dict[str, torch.Tensor]], options: DecodingOptions
    ) -> list[Hypothesis]:
        hypotheses = [hypothesis for hypothesis in hypotheses if math.isfinite(hypothesis["score"])]
        if len(hypotheses) < options.nbest:
            raise TooFew(sentence, len(hypotheses), options.nbest)
        return [
            self._hypothesis(one["tokens"].cpu(), float(one["score"]), options) for one in hypotheses[: options.nbest]
        ]

    def _hypothesis(self, tokens: torch.Tensor, score: float, options: DecodingOptions) -> Hypothesis:
        text = self.task.target_dictionary.string(tokens, extra_symbols_to_ignore=self.tokens.unseen)
        return Hypothesis.of_length(text, score / math.log(2), len(tokens), options.lenpen)


def _endless(search: Search, batch: Sequence[int], sources: Sequence[torch.Tensor]) -> int:
    """The first sentence of a batch that alone finds no end either."""
    for i in batch:
        try:
            search([sources[i]])
        except AssertionError:
            return i
    return batch[0]
