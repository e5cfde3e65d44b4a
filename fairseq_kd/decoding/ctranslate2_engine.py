"""CTranslate2's beam search behind the interface: the same hypotheses as fairseq's, several times as fast."""

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.decoding.conversion import CannotConvert, import_ctranslate2, load_translator, read_made
from fairseq_kd.decoding.interface import NOT_TRANSLATED, Hypothesis, Progress, batches, out_of_memory, too_few
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError

Beam = dict[tuple[str, ...], float]
"""Hypotheses without ``</s>``, and their log-probabilities divided by their number of tokens (``</s>`` counted)."""

LimitedBatch = tuple[list[int], int]
"""Indices of sentences that are decoded together, and the most tokens that a hypothesis of theirs can have."""

PAD = "<blank>"
"""The converter's name for fairseq's ``<pad>``."""

CPU_BATCH = 32
"""Sentences that one thread decodes together; few, so that all threads end at about the same time."""


def device() -> str:
    """The device that CTranslate2 decodes on: "cuda", all GPUs, if there are any, else "cpu".

    Raises:
        CannotConvert: torch sees a GPU that this build of CTranslate2 cannot use.
    """
    if not torch.cuda.is_available():
        return "cpu"
    if not import_ctranslate2().get_cuda_device_count():
        raise CannotConvert("this build of ctranslate2 sees no GPU (CUDA_VISIBLE_DEVICES= decodes on the CPU)")
    return "cuda"


def check_precision(precision: str) -> None:
    """Check that CTranslate2 can compute in ``precision`` on this machine.

    Raises:
        UserError: it cannot; the message names the precisions that it can.
        CannotConvert: :func:`device` raises it.
    """
    name = device()
    supported = import_ctranslate2().get_supported_compute_types(name)
    if precision not in supported:
        known = ", ".join(sorted(supported))
        raise UserError(f"--precision {precision}: not supported by this machine's {name}; choose from {known}")


class CTranslate2Engine:
    """A converted model, on all GPUs of the machine or on as many CPU threads as torch uses (``OMP_NUM_THREADS``).

    Each CPU thread decodes its own batches, so the result does not depend on the number of threads.

    Two things differ from fairseq:

    - The probability of ``<pad>`` is spread over the other symbols. fairseq never chooses ``<pad>`` either, but leaves
      its probability unused. The scores of an untrained model show the difference.
    - Where more hypotheses end in one step than the beam has room for, the best of them stay; in fairseq the first do.
      This can change the lower ranks of an n-best list.

    Attributes:
        parameters: number of parameters in the checkpoint.
        max_source_positions: the longest source that the model takes, ``</s>`` counted.
        max_target_positions: the decoder's positions.
    """

    def __init__(self, folder: Path, precision: str, task: TranslationTask):
        """Load a folder from :func:`~fairseq_kd.decoding.conversion.write_model`, to compute in ``precision``.

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
            self.translator = load_translator(
                folder, device=place, compute_type=precision, max_queued_batches=-1, **where
            )
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{folder}: ctranslate2 cannot load it ({error}); delete the folder") from None

    def takes(self, source: torch.Tensor) -> bool:
        """As :meth:`Engine.takes`."""
        return 1 < len(source) <= self.max_source_positions

    def translate(
        self, sources: Sequence[torch.Tensor], options: DecodingOptions, progress: Progress | None = None
    ) -> list[list[Hypothesis]]:
        """As :meth:`Engine.translate`, with the length limits of the batches that fairseq makes.

        Raises:
            UserError: a batch does not fit the GPU, or the search gives fewer than ``nbest`` hypotheses.
        """
        found = [[NOT_TRANSLATED] * options.nbest for _ in sources]
        usable = {i: len(source) for i, source in enumerate(sources) if self.takes(source)}
        if progress:
            progress(len(sources) - len(usable))
        words = {i: [self.task.source_dictionary[symbol] for symbol in sources[i][:-1].tolist()] for i in usable}
        try:
            beams = self._beams(words, self._limited_batches(usable, options), options, progress)
        except RuntimeError as error:
            if "out of memory" not in str(error):
                raise
            raise out_of_memory(options) from None
        for i, beam in beams.items():
            found[i] = self._read(beam, options.nbest)
        return found

    def _limited_batches(self, usable: dict[int, int], options: DecodingOptions) -> list[LimitedBatch]:
        """fairseq's batches, cut to :attr:`batch_size` sentences; ``usable`` has the lengths of the sources."""
        limited: list[LimitedBatch] = []
        for batch in batches(usable, options.max_tokens):
            # The limit is by fairseq's whole batch, whose longest source comes first.
            longest = options.longest(usable[batch[0]], self.max_target_positions)
            size = self.batch_size or len(batch)
            limited += [(batch[start : start + size], longest) for start in range(0, len(batch), size)]
        return limited

    def _beams(
        self,
        words: dict[int, list[str]],
        limited: list[LimitedBatch],
        options: DecodingOptions,
        progress: Progress | None,
    ) -> dict[int, Beam]:
        """The final beam of each sentence by fairseq's rules, of which CTranslate2 breaks two.

        fairseq gives no empty translation. CTranslate2 can be kept from it only by changed probabilities, so a
        sentence with an empty hypothesis is searched again for one hypothesis more.

        fairseq makes one step after ``longest`` tokens, in which every hypothesis left gets its ``</s>``. A sentence
        that needed this step is searched again for one token less and for all hypotheses that are left then;
        :meth:`_end` keeps those that fairseq keeps.
        """
        size = options.beam
        # 1. All sentences, one token beyond the limit: in CTranslate2 that token can be anything, in fairseq only </s>.
        beams = self._search(words, [(batch, longest + 1) for batch, longest in limited], size, size, progress)
        # 2. Those with an empty hypothesis, for size + 1 hypotheses, without the empty one.
        empty = [([i for i in batch if () in beams[i]], longest + 1) for batch, longest in limited]
        for i, beam in self._search(words, empty, size, size + 1).items():
            # A greedy search is kept from the empty translation by its probabilities: they are computed anew.
            beams[i] = self._score(words[i], beam) if size == 1 else beam
            beams[i].pop((), None)
        # 3. Those with a hypothesis at the limit, with the limit itself.
        cut = [
            ([i for i in batch if any(len(tokens) >= longest for tokens in beams[i])], longest)
            for batch, longest in limited
        ]
        # Fewer than ``size`` hypotheses had ended before, and ``size`` are left: 2 · size has room for all of them.
        left = self._search(words, cut, size, 2 * size)
        for batch, longest in cut:
            for i in batch:
                # Where a hypothesis ended at the limit, only the first search knows the one that took its place.
                seen = {tokens[:longest]: score for tokens, score in beams[i].items()}
                beams[i] = self._end(words[i], seen | left[i], longest, size)
        return beams

    def _search(
        self,
        words: dict[int, list[str]],
        limited: list[LimitedBatch],
        beam: int,
        keep: int,
        progress: Progress | None = None,
    ) -> dict[int, Beam]:
        """Search with a beam of ``beam`` until ``keep`` hypotheses of a sentence have ended or its limit is reached.

        As many batches are decoded at a time as there are threads or GPUs. A greedy search keeps one hypothesis: for
        ``keep`` > 1 it gives one that is not empty. Nor is a hypothesis empty where the limit is one token; there
        :meth:`_end` computes the score anew.
        """
        greedy_again = beam == 1 < keep
        keep = 1 if greedy_again else keep
        # All batches go into the translator's queue first, so that no thread waits for this one.
        submitted = [
            self.translator.translate_batch(
                [words[i] for i in batch],  # CTranslate2 adds the </s>
                asynchronous=True,
                beam_size=beam,
                num_hypotheses=keep,
                patience=keep / beam,  # it ends with patience · beam hypotheses
                length_penalty=1,
                max_input_length=0,
                min_decoding_length=int(greedy_again or length == 1),
                max_decoding_length=length,
                suppress_sequences=[[PAD]],
                return_scores=True,
            )
            for batch, length in limited
            if batch
        ]
        beams = {}
        for batch, results in zip((batch for batch, _ in limited if batch), submitted, strict=True):
            for i, result in zip(batch, (one.result() for one in results), strict=True):
                beams[i] = dict(zip(map(tuple, result.hypotheses), result.scores, strict=True))
            if progress:
                progress(len(batch))
        return beams

    def _end(self, source: list[str], beam: Beam, longest: int, size: int) -> Beam:
        """Give ``</s>`` to hypotheses of ``longest`` tokens, and keep the best of them that the beam has room for."""
        # Shorter hypotheses have ended by themselves and stay.
        finished = {tokens: score for tokens, score in beam.items() if 0 < len(tokens) < longest}
        # With their </s> in the score, which the search at the limit did not draw.
        ended = self._score(source, [tokens for tokens in beam if len(tokens) == longest])
        best = sorted(ended, key=ended.__getitem__, reverse=True)[: max(size - len(finished), 0)]
        return finished | {tokens: ended[tokens] for tokens in best}

    def _score(self, source: list[str], hypotheses: Iterable[tuple[str, ...]]) -> Beam:
        """The hypotheses with their scores, ``</s>`` counted, by one forward pass."""
        targets = [list(tokens) for tokens in hypotheses]
        scored = self.translator.score_batch([source] * len(targets), targets, max_input_length=0)
        return {
            tuple(tokens): statistics.fmean(result.log_probs) for tokens, result in zip(targets, scored, strict=True)
        }

    def _read(self, beam: Beam, nbest: int) -> list[Hypothesis]:
        """The ``nbest`` best, scores to the base 2; NaN scores are left out."""
        usable = sorted((pair for pair in beam.items() if not math.isnan(pair[1])), key=lambda pair: -pair[1])
        if len(usable) < nbest:
            raise too_few(len(usable), nbest)
        dictionary = self.task.target_dictionary
        return [
            Hypothesis(dictionary.string([dictionary.index(word) for word in tokens]), score / math.log(2))
            for tokens, score in usable[:nbest]
        ]
