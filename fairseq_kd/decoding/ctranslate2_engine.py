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
"""Hypotheses without ``</s>``, and their log-probabilities divided by their tokens (``</s>`` counted)."""

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

    Two things are not fairseq's: probabilities are those given that the translation has no padding (fairseq leaves it
    out too, but it keeps its share), and where more hypotheses end in one step than the beam has room for, the best of
    all stay, not the first. With an untrained model the first shows in the scores; the second can change the lower
    ranks of an n-best list.

    Attributes:
        parameters: as in the checkpoint.
        max_source_positions: the longest source that the model takes, ``</s>`` counted.
        max_target_positions: as the model's decoder has.
    """

    def __init__(self, folder: Path, precision: str, task: TranslationTask):
        """Load what :func:`~fairseq_kd.decoding.conversion.write_model` wrote, to compute in ``precision``.

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
        """As :meth:`Engine.translate`; the length of a hypothesis is limited as in the batches that fairseq makes.

        Raises:
            UserError: a batch does not fit the GPU, or the search gives fewer than ``nbest`` hypotheses.
        """
        found = [[NOT_TRANSLATED] * options.nbest for _ in sources]
        usable = {i: len(source) for i, source in enumerate(sources) if self.takes(source)}
        if progress:
            progress(len(sources) - len(usable))
        words = {i: [self.task.source_dictionary[symbol] for symbol in sources[i][:-1].tolist()] for i in usable}
        try:
            beams = self._beams(words, self._parts(usable, options), options, progress)
        except RuntimeError as error:
            if "out of memory" not in str(error):
                raise
            raise out_of_memory(options) from None
        for i, beam in beams.items():
            found[i] = self._read(beam, options.nbest)
        return found

    def _parts(self, usable: dict[int, int], options: DecodingOptions) -> list[tuple[list[int], int]]:
        """What is decoded together, and how many tokens a hypothesis can have there."""
        parts = []
        for batch in batches(usable, options.max_tokens):
            longest = options.longest(usable[batch[0]], self.max_target_positions)
            size = self.batch_size or len(batch)
            parts += [(batch[start : start + size], longest) for start in range(0, len(batch), size)]
        return parts

    def _beams(
        self,
        words: dict[int, list[str]],
        parts: list[tuple[list[int], int]],
        options: DecodingOptions,
        progress: Progress | None,
    ) -> dict[int, Beam]:
        """The final beam of each sentence, as fairseq's rules have it where CTranslate2's are others.

        fairseq has no empty translation, CTranslate2 can only be kept from it by other probabilities: a sentence with
        one is searched again for one hypothesis more. fairseq has one step more than ``longest``, in which each
        hypothesis left gets its ``</s>``: a sentence that needed it is searched again for one token less, and for all
        that is left then, of which :meth:`_end` keeps what fairseq keeps.
        """
        size = options.beam
        beams = self._search(words, [(part, longest + 1) for part, longest in parts], size, size, progress)
        empty = [([i for i in part if () in beams[i]], longest + 1) for part, longest in parts]
        for i, beam in self._search(words, empty, size, size + 1).items():
            beams[i] = self._score(words[i], beam) if size == 1 else beam
            beams[i].pop((), None)
        cut = [
            ([i for i in part if any(len(tokens) >= longest for tokens in beams[i])], longest)
            for part, longest in parts
        ]
        # Fewer than a beam were finished before, and a beam is left: twice its size loses none of them.
        left = self._search(words, cut, size, 2 * size)
        for part, longest in cut:
            for i in part:
                # Where one ended just then, the first search alone knows what took its place.
                seen = {tokens[:longest]: score for tokens, score in beams[i].items()}
                beams[i] = self._end(words[i], seen | left[i], longest, size)
        return beams

    def _search(
        self,
        words: dict[int, list[str]],
        parts: list[tuple[list[int], int]],
        beam: int,
        keep: int,
        progress: Progress | None = None,
    ) -> dict[int, Beam]:
        """Decode all parts, as many at a time as there are threads or GPUs, until ``keep`` hypotheses are finished.

        A greedy search cannot keep more than one; where it should, that one is not empty instead. Nor is one of a
        single token, which :meth:`_end` scores anew anyway.
        """
        greedy_again = beam == 1 < keep
        keep = 1 if greedy_again else keep
        submitted = [
            self.translator.translate_batch(
                [words[i] for i in part],  # CTranslate2 adds the </s>
                asynchronous=True,
                beam_size=beam,
                num_hypotheses=keep,
                patience=keep / beam,
                length_penalty=1,
                max_input_length=0,
                min_decoding_length=int(greedy_again or length == 1),
                max_decoding_length=length,
                suppress_sequences=[[PAD]],
                return_scores=True,
            )
            for part, length in parts
            if part
        ]
        beams = {}
        for part, results in zip((part for part, _ in parts if part), submitted, strict=True):
            for i, result in zip(part, (one.result() for one in results), strict=True):
                beams[i] = dict(zip(map(tuple, result.hypotheses), result.scores, strict=True))
            if progress:
                progress(len(part))
        return beams

    def _end(self, source: list[str], beam: Beam, longest: int, size: int) -> Beam:
        """Give those of ``longest`` tokens their ``</s>``, and keep as many as the finished ones leave room for."""
        finished = {tokens: score for tokens, score in beam.items() if 0 < len(tokens) < longest}
        ended = self._score(source, [tokens for tokens in beam if len(tokens) == longest])
        best = sorted(ended, key=ended.__getitem__, reverse=True)[: max(size - len(finished), 0)]
        return finished | {tokens: ended[tokens] for tokens in best}

    def _score(self, source: list[str], hypotheses: Iterable[tuple[str, ...]]) -> Beam:
        targets = [list(tokens) for tokens in hypotheses]
        scored = self.translator.score_batch([source] * len(targets), targets, max_input_length=0)
        return {
            tuple(tokens): statistics.fmean(result.log_probs) for tokens, result in zip(targets, scored, strict=True)
        }

    def _read(self, beam: Beam, nbest: int) -> list[Hypothesis]:
        usable = sorted((pair for pair in beam.items() if not math.isnan(pair[1])), key=lambda pair: -pair[1])
        if len(usable) < nbest:
            raise too_few(len(usable), nbest)
        dictionary = self.task.target_dictionary
        return [
            Hypothesis(dictionary.string([dictionary.index(word) for word in tokens]), score / math.log(2))
            for tokens, score in usable[:nbest]
        ]
