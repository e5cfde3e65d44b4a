"""CTranslate2's beam search behind the interface: the same hypotheses as fairseq's, several times as fast."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.corpus.engines.conversion import CannotConvert, import_ctranslate2, read_made
from fairseq_kd.corpus.engines.interface import (
    NOT_TRANSLATED,
    DecodingOptions,
    Hypothesis,
    Progress,
    batches,
    out_of_memory,
    too_few,
)
from fairseq_kd.errors import UserError

PAD = "<blank>"
"""What the converter calls fairseq's ``<pad>``."""

CPU_BATCH = 32
"""Sentences that one thread decodes together: few enough that all threads end at about the same time."""


def device() -> str:
    """Where CTranslate2 decodes: on all GPUs if there are any, else on the CPU.

    Raises:
        CannotConvert: torch sees a GPU that this build of CTranslate2 cannot use.
    """
    if not torch.cuda.is_available():
        return "cpu"
    if not import_ctranslate2().get_cuda_device_count():
        raise CannotConvert("this build of ctranslate2 sees no GPU (CUDA_VISIBLE_DEVICES= decodes on the CPU)")
    return "cuda"


def check_precision(precision: str) -> None:
    """Refuse what this machine cannot compute in.

    Raises:
        UserError: it is not among what CTranslate2 supports here.
        CannotConvert: as :func:`device`.
    """
    name = device()
    supported = import_ctranslate2().get_supported_compute_types(name)
    if precision not in supported:
        known = ", ".join(sorted(supported))
        raise UserError(f"--precision {precision}: not supported by this machine's {name}; choose from {known}")


class CTranslate2Engine:
    """A converted model, on all GPUs of the machine or on as many CPU threads as torch uses (``OMP_NUM_THREADS``).

    Each CPU thread decodes batches of its own, so that a result does not depend on their number.

    Attributes:
        parameters: as in the checkpoint.
        max_source_positions: the longest source that the model takes, ``</s>`` counted.
        max_target_positions: as the model's decoder has.
    """

    def __init__(self, folder: Path, precision: str, task: TranslationTask):
        """Load what :func:`~fairseq_kd.corpus.engines.conversion.write_model` wrote, to compute in ``precision``.

        Raises:
            CannotConvert: the GPU cannot be used.
            UserError: the folder is damaged.
        """
        self.task = task
        made = read_made(folder)
        self.parameters: int = made["parameters"]
        self.max_source_positions: int = made["source_positions"]
        self.max_target_positions: int = made["target_positions"]
        place = device()
        where: dict[str, Any] = {"inter_threads": torch.get_num_threads(), "intra_threads": 1}
        self.batch_size: int | None = CPU_BATCH
        if place == "cuda":
            where, self.batch_size = {"device_index": list(range(torch.cuda.device_count()))}, None
        try:
            self.translator = import_ctranslate2().Translator(
                str(folder), device=place, compute_type=precision, max_queued_batches=-1, **where
            )
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{folder}: ctranslate2 cannot load it ({error}); delete the folder") from None

    def takes(self, source: torch.Tensor) -> bool:
        """As :meth:`Engine.takes`."""
        return 1 < len(source) <= self.max_source_positions

    def translate(
        self, sources: Sequence[torch.Tensor], options: DecodingOptions, progress: Progress | None = None
    ) -> list[list[Hypothesis]]:
        """As :meth:`Engine.translate`; the length of a hypothesis is limited as in the batches that fairseq makes.

        Raises:
            UserError: a batch does not fit the GPU, or the search gives fewer than ``nbest`` hypotheses.
        """
        found = [[NOT_TRANSLATED] * options.nbest for _ in sources]
        usable = {i: len(source) for i, source in enumerate(sources) if self.takes(source)}
        if progress:
            progress(len(sources) - len(usable))
        submitted = []
        for batch in batches(usable, options.max_tokens):
            longest = options.longest(usable[batch[0]], self.max_target_positions)
            size = self.batch_size or len(batch)
            for start in range(0, len(batch), size):
                part = batch[start : start + size]
                submitted.append((part, self._submit([sources[i] for i in part], options, longest)))
        for part, results in submitted:
            words = [self._words(sources[i]) for i in part]
            try:
                nbest_lists = self._collect(words, results, options.nbest)
            except RuntimeError as error:
                if "out of memory" not in str(error):
                    raise
                raise out_of_memory(options) from None
            for i, hypotheses in zip(part, nbest_lists, strict=True):
                found[i] = hypotheses
            if progress:
                progress(len(part))
        return found

    def _words(self, source: torch.Tensor) -> list[str]:
        """A source's symbols, without the ``</s>`` that CTranslate2 adds by itself."""
        return [self.task.source_dictionary[i] for i in source[:-1].tolist()]

    def _submit(self, sources: Sequence[torch.Tensor], options: DecodingOptions, longest: int) -> list[Any]:
        """Queue one batch.

        fairseq's last step gives every hypothesis of ``longest`` tokens its ``</s>``. CTranslate2 has no such step, so
        that it stops one earlier and :meth:`_collect` adds it; the beam is asked for whole since that can change the
        order.
        """
        return self.translator.translate_batch(
            [self._words(source) for source in sources],
            asynchronous=True,
            beam_size=options.beam,
            num_hypotheses=options.beam,
            length_penalty=1,
            max_input_length=0,
            max_decoding_length=longest,
            suppress_sequences=[[PAD]],
            return_scores=True,
            return_end_token=True,
        )

    def _collect(self, sources: list[list[str]], submitted: list[Any], nbest: int) -> list[list[Hypothesis]]:
        """The ``nbest`` best hypotheses of each source, once its batch is done."""
        results = [one.result() for one in submitted]
        beams = [list(zip(result.hypotheses, result.scores, strict=True)) for result in results]
        cut = [
            (beam, k) for beam in range(len(beams)) for k, (words, _) in enumerate(beams[beam]) if self._is_cut(words)
        ]
        if cut:
            scored = self.translator.score_batch(
                [sources[beam] for beam, _ in cut],
                [beams[beam][k][0] for beam, k in cut],
                max_input_length=0,
                max_batch_size=self.batch_size or 0,
            )
            for (beam, k), result in zip(cut, scored, strict=True):
                beams[beam][k] = (beams[beam][k][0], statistics.fmean(result.log_probs))
        return [self._read(beam, nbest) for beam in beams]

    def _is_cut(self, words: list[str]) -> bool:
        return words[-1:] != [self.task.target_dictionary.eos_word]

    def _read(self, beam: list[tuple[list[str], float]], nbest: int) -> list[Hypothesis]:
        """The best of one sentence; the scores given are natural logarithms for each token."""
        usable = sorted((pair for pair in beam if not math.isnan(pair[1])), key=lambda pair: -pair[1])
        if len(usable) < nbest:
            raise too_few(len(usable), nbest)
        dictionary = self.task.target_dictionary
        return [
            Hypothesis(dictionary.string([dictionary.index(word) for word in words]), score / math.log(2))
            for words, score in usable[:nbest]
        ]
