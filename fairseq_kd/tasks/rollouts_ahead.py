"""Rollouts of the student for several updates at a time, drawn by CTranslate2 from a copy of its weights."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from fairseq.data import data_utils
from fairseq.data.iterators import EpochBatchIterator
from torch import Tensor

from fairseq_kd.decoding.ctranslate2.conversion import CannotConvert, import_ctranslate2
from fairseq_kd.decoding.ctranslate2.live_translator import live_translator
from fairseq_kd.decoding.ctranslate2.search import PAD, source_words
from fairseq_kd.decoding.options import Sampling
from fairseq_kd.errors import UserError
from fairseq_kd.tasks.translation_kd import TranslationKDTask

DECODED_TOGETHER = 128
"""Sentences in one batch of CTranslate2; larger batches fit a processor's cache less well."""


class RolloutsAhead:
    """Draws the rollouts of a window, ``updates`` updates of one epoch, at once from the weights at its start.

    A window's random numbers come from the seed, its first update and the process. A sentence's sequence depends on
    the other sentences of its window. Its length limit counts its own source alone: CTranslate2 takes one limit for a
    whole call, the largest of the batch, and each sequence is then cut to its sentence's limit.

    Args:
        task: its epoch iterator knows the upcoming batches.
        sampling: temperature, truncation and length limit.
        updates: number of updates in a window; 1 draws every update's rollouts from current weights.
        batches_per_update: one number for each epoch; later epochs take the last (--update-freq).
        seed: of the run.
        min_len: tokens that a sequence has at least.

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
        min_len: int = 0,
    ):
        if updates < 1:
            raise UserError(f"--rollout-refresh {updates}: give a number of updates, or 0 for current weights")
        self.task, self.sampling, self.updates, self.seed = task, sampling, updates, seed
        self.min_len = min_len
        self.batches_per_update = list(batches_per_update)
        self._window: tuple[int, int] = (0, 0)  # its epoch, and the first update behind it
        self._place = 0  # of the window's first batch in the epoch
        self._drawn: dict[int, Tensor] = {}  # symbols by row, of the window's rows
        self._checked = False
        try:
            import_ctranslate2()
        except CannotConvert as reason:
            raise self._refused(reason) from None

    def draw(self, student: Any, sample: dict[str, Any], positions: float = math.inf) -> Tensor:
        """The rollouts of a batch of the training set; a batch in no window begins the next one.

        Args:
            student: not wrapped for several processes.
            sample: the batch; of it only ``id`` is read.
            positions: of a further model that is to read the sequences.

        Returns:
            Symbols, shape (batch, longest), each row ended by ``</s>`` and then padded.

        Raises:
            UserError: CTranslate2 does not take the student.
        """
        rows, epoch, update = sample["id"].tolist(), self.task.train_iterator.epoch, self.task.update
        # A new epoch has other batches: its first window is searched for from their start.
        if self._window[0] != epoch:
            self._place = 0
        # The last condition is a batch that no window foresaw, such as fairseq's stand-in (see _upcoming).
        if self._window[0] != epoch or update >= self._window[1] or rows[0] not in self._drawn:
            self._window = (epoch, update + self.updates)
            self._refresh(student, rows, int(min(student.max_decoder_positions(), positions)))
        targets = [self._drawn[row] for row in rows]
        return data_utils.collate_tokens(targets, self.task.target_dictionary.pad()).to(sample["id"].device)

    def _refresh(self, student: Any, rows: list[int], positions: int) -> None:
        """Draw for the window that begins with the batch of ``rows``, for decoders of these positions."""
        iterator = self.task.train_iterator
        batches = self._upcoming(iterator, rows)
        # Before the translator's first draw, which is when its thread seeds itself.
        numbers = (self.seed, self.task.update, iterator.shard_id)
        self.seeded(numbers)
        try:
            with TemporaryDirectory() as folder:
                translator = live_translator(student, self.task, Path(folder), check=not self._checked)
        except CannotConvert as reason:
            raise self._refused(reason) from None
        except OSError as error:
            raise UserError(
                f"--rollout-refresh {self.updates}: a temporary copy of the student cannot be written "
                f"({error.strerror}); set TMPDIR to a folder with room"
            ) from None
        self._checked = True  # the comparison with the student's own probabilities is made once
        # The translator has copied the weights, so the folder can go before it decodes.
        self._drawn = dict(self.decode(translator, batches, positions))

    @staticmethod
    def seeded(numbers: Sequence[int]) -> None:
        """Seed the next translator that is made with ``numbers``; one that has drawn already is not affected."""
        import_ctranslate2().set_random_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))

    def _upcoming(self, iterator: EpochBatchIterator, rows: list[int]) -> list[list[int]]:
        """The rows of the window's batches: the batch that begins with ``rows``, and those behind it in the epoch.

        Where another process has one batch more, fairseq gives this one a stand-in, which is not among its batches.
        The stand-in is a window of its own.
        """
        # This process's batches of the epoch in their order, each a list of rows; [] fills up the last round.
        batches = _sampler(iterator).batches
        frequencies = self.batches_per_update
        count = self.updates * frequencies[min(iterator.epoch, len(frequencies)) - 1]
        # Searched from the last window's batch on: a row is in one batch of the epoch, and batches come in order.
        for place in range(self._place, len(batches)):
            if rows[0] in batches[place]:
                self._place = place
                return [[int(row) for row in batch] for batch in batches[place : place + count] if len(batch)]
        return [rows]

    def decode(self, translator: Any, batches: Iterable[list[int]], positions: int) -> Iterator[tuple[int, Tensor]]:
        """Draw a sequence for each row of ``batches``.

        Args:
            translator: from :func:`~fairseq_kd.decoding.ctranslate2.live_translator.live_translator`.
            batches: rows of the training set that are drawn in one call.
            positions: of the decoder.

        Yields:
            A row, and its symbols with ``</s>`` last, shape (length,).
        """
        dataset, source, target = (
            self.task.dataset(self.task.cfg.train_subset),
            self.task.source_dictionary,
            self.task.target_dictionary,
        )
        submitted = []
        for rows in batches:
            sources = [dataset[row]["source"] for row in rows]
            words = [source_words(ids, source) for ids in sources]
            # As fairseq counts a source's tokens, which a <pad> within it is none of.
            lengths = [int(ids.ne(source.pad()).sum()) for ids in sources]
            limits = [self.sampling.longest(length, positions) for length in lengths]
            # One limit for the call; each sequence is cut to its own below, as if it had been drawn with it.
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
            min_decoding_length=min(self.min_len, longest),  # CTranslate2 refuses a minimum above the limit
            max_decoding_length=longest,
            suppress_sequences=[[PAD]],
        )

    def _refused(self, reason: Exception) -> UserError:
        return UserError(f"--rollout-refresh {self.updates}: {reason}; leave it out to draw from any student")


def _sampler(iterator: EpochBatchIterator) -> Any:
    """The order of an epoch's batches; fairseq 0.12.2 has it under another name."""
    name = "epoch_batch_sampler" if hasattr(iterator, "epoch_batch_sampler") else "batch_sampler"
    return getattr(iterator, name)
