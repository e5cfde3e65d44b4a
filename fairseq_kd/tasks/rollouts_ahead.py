"""The student's rollouts for several updates at a time, by CTranslate2 from a copy of its weights."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from fairseq.data import data_utils
from fairseq.data.iterators import EpochBatchIterator
from torch import Tensor

from fairseq_kd.decoding.conversion import CannotConvert, import_ctranslate2
from fairseq_kd.decoding.ctranslate2_engine import PAD
from fairseq_kd.decoding.live_translator import live_translator
from fairseq_kd.decoding.options import Sampling
from fairseq_kd.errors import UserError
from fairseq_kd.tasks.translation_kd import TranslationKDTask

DECODED_TOGETHER = 128
"""Sentences; more of them fit a processor's cache less well."""


class RolloutsAhead:
    """Draws from weights that are less than ``updates`` updates old, for all batches of so many updates at once.

    It looks ahead within an epoch. A window's random numbers come from the seed, its first update and the process, and
    a sentence's sequence depends on the others of its window.

    Args:
        task: whose epoch iterator holds what comes.
        sampling: how to draw.
        updates: for how many updates at a time; 1 draws each update's from current weights.
        batches_per_update: in each epoch, the last entry in all later ones (--update-freq).
        seed: of the run.

    Raises:
        UserError: the number of updates is below 1, or CTranslate2 cannot be used.
    """

    def __init__(
        self,
        task: TranslationKDTask,
        sampling: Sampling,
        updates: int,
        batches_per_update: Sequence[int],
        seed: int,
    ):
        if updates < 1:
            raise UserError(f"--rollout-refresh {updates}: give a number of updates, or 0 for current weights")
        self.task, self.sampling, self.updates, self.seed = task, sampling, updates, seed
        self.batches_per_update = list(batches_per_update)
        self._window: tuple[int, int] = (0, 0)  # epoch, and the update at which the weights are too old
        self._place = 0
        self._drawn: dict[int, Tensor] = {}
        self._checked = False
        try:
            import_ctranslate2()
        except CannotConvert as reason:
            raise self._refused(reason) from None

    def draw(self, student: Any, sample: dict[str, Any]) -> Tensor:
        """As :func:`fairseq_kd.decoding.rollouts.draw_rollouts`, for a batch of the training set.

        Raises:
            UserError: CTranslate2 does not take the student.
        """
        rows, epoch, update = sample["id"].tolist(), self.task.train_iterator.epoch, self.task.update
        if self._window[0] != epoch:
            self._place = 0
        if self._window[0] != epoch or update >= self._window[1] or rows[0] not in self._drawn:
            self._window = (epoch, update + self.updates)
            self._refresh(student, rows)
        targets = [self._drawn[row] for row in rows]
        return data_utils.collate_tokens(targets, self.task.target_dictionary.pad()).to(sample["id"].device)

    def _refresh(self, student: Any, rows: list[int]) -> None:
        iterator = self.task.train_iterator
        batches = self._upcoming(iterator, rows)
        numbers = (self.seed, self.task.update, iterator.shard_id)
        self.seeded(numbers)
        with TemporaryDirectory() as folder:
            try:
                translator = live_translator(student, self.task, Path(folder), check=not self._checked)
            except CannotConvert as reason:
                raise self._refused(reason) from None
        self._checked = True
        positions = student.max_decoder_positions()
        self._drawn = dict(self.decode(translator, batches, positions))

    @staticmethod
    def seeded(numbers: Sequence[int]) -> None:
        """Let them decide what the next translator draws; its thread seeds itself when it first draws."""
        import_ctranslate2().set_random_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))

    def _upcoming(self, iterator: EpochBatchIterator, rows: list[int]) -> list[list[int]]:
        """The rows of this batch and of those behind it, as many as the window has.

        A batch that is not there is fairseq's stand-in where another process has one batch more: it is alone.
        """
        batches = iterator.epoch_batch_sampler.batches
        frequencies = self.batches_per_update
        count = self.updates * frequencies[min(iterator.epoch, len(frequencies)) - 1]
        for place in range(self._place, len(batches)):
            if rows[0] in batches[place]:
                self._place = place
                return [[int(row) for row in batch] for batch in batches[place : place + count] if len(batch)]
        return [rows]

    def decode(self, translator: Any, batches: Iterable[list[int]], positions: int) -> Iterator[tuple[int, Tensor]]:
        """Each row of the training set in these batches, and the symbols drawn for it, ``</s>`` last.

        Args:
            translator: as :func:`~fairseq_kd.decoding.live_translator.live_translator` makes it.
            batches: rows that share a limit of length.
            positions: of the decoder.
        """
        dataset, source, target = (
            self.task.dataset(self.task.cfg.train_subset),
            self.task.source_dictionary,
            self.task.target_dictionary,
        )
        submitted = []
        for rows in batches:
            sources = [dataset[row]["source"] for row in rows]
            words = [[source[symbol] for symbol in ids[:-1].tolist()] for ids in sources]  # CTranslate2 adds the </s>
            limits = [self.sampling.longest(len(ids), positions) for ids in sources]
            submitted.append((rows, limits, self._submit(translator, words, max(limits))))
        for rows, limits, results in submitted:
            for row, limit, result in zip(rows, limits, results, strict=True):
                symbols = [target.index(word) for word in result.result().hypotheses[0][:limit]]
                yield row, torch.tensor([*symbols, target.eos()])

    def _submit(self, translator: Any, words: list[list[str]], longest: int) -> list[Any]:
        return translator.translate_batch(
            words,
            asynchronous=True,
            max_batch_size=DECODED_TOGETHER,
            beam_size=1,
            sampling_topk=self.sampling.top_k,
            sampling_topp=self.sampling.top_p,
            sampling_temperature=self.sampling.temperature,
            max_input_length=0,
            min_decoding_length=0,
            max_decoding_length=longest,
            suppress_sequences=[[PAD]],
        )

    def _refused(self, reason: Exception) -> UserError:
        return UserError(f"--rollout-refresh {self.updates}: {reason}; leave it out to draw from any student")
