"""CTranslate2's beam search behind the interface: the same hypotheses as fairseq's, several times as fast."""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.decoding.ctranslate2.conversion import CannotConvert, import_ctranslate2, load_translator
from fairseq_kd.decoding.ctranslate2.converted_folder import read_made
from fairseq_kd.decoding.ctranslate2.search import Beam, BeamSearch, best_of, limited_batches, source_words
from fairseq_kd.decoding.interface import NOT_TRANSLATED, Hypothesis, Progress, TooFew
from fairseq_kd.decoding.options import VOCABULARY_MAP, DecodingOptions
from fairseq_kd.errors import UserError

CUBLAS = "libcublas.so.12"
"""What CTranslate2 4 loads when it first multiplies on a GPU. A torch for CUDA 13 brings another one."""
CPU_BATCH = 32
"""Sentences that one thread decodes together; few, so that all threads end at about the same time."""


def device() -> str:
    """The device that CTranslate2 decodes on: "cuda", all GPUs, if there are any, else "cpu".

    Raises:
        CannotConvert: torch sees a GPU that this build of CTranslate2 cannot use, or a library is missing.
    """
    if not torch.cuda.is_available():
        return "cpu"
    if not import_ctranslate2().get_cuda_device_count():
        raise CannotConvert("this build of ctranslate2 sees no GPU (CUDA_VISIBLE_DEVICES= decodes on the CPU)")
    if not loadable(CUBLAS):
        raise CannotConvert(
            f"it needs {CUBLAS} on a GPU, which is missing; install nvidia-cublas-cu12 or put its folder in "
            "LD_LIBRARY_PATH (CUDA_VISIBLE_DEVICES= decodes on the CPU)"
        )
    return "cuda"


def loadable(library: str) -> bool:
    """Whether the system's loader finds a shared library, or has loaded it already."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


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


def load_parallel(folder: Path, precision: str, remedy: str = "delete the folder") -> tuple[Any, int | None]:
    """A translator on all GPUs, or on as many CPU threads as torch uses, and the size of its batches.

    The size is that of a CPU thread's batches. On GPUs it is None: ``max_tokens`` alone limits them.

    Args:
        folder: a CTranslate2 model's.
        precision: what it computes in.
        remedy: what to do with a damaged folder, for the error.

    Raises:
        CannotConvert: the GPU cannot be used.
        UserError: the folder is damaged.
    """
    place = device()
    where: dict[str, Any] = {"inter_threads": torch.get_num_threads(), "intra_threads": 1}
    if place == "cuda":
        where = {"device_index": list(range(torch.cuda.device_count()))}
    try:
        translator = load_translator(folder, device=place, compute_type=precision, max_queued_batches=-1, **where)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{folder}: ctranslate2 cannot load it ({error}); {remedy}") from None
    return translator, None if place == "cuda" else CPU_BATCH


class CTranslate2Engine:
    """A converted model, on all GPUs of the machine or on as many CPU threads as torch uses (``OMP_NUM_THREADS``).

    Each CPU thread decodes its own batches, so the result does not depend on the number of threads.

    Two things differ from fairseq:

    - The probability of ``<pad>`` is spread over the other symbols. fairseq never chooses ``<pad>`` either, but leaves
      its probability unused. The scores of an untrained model show the difference.
    - Where more hypotheses end in one step than the beam has room for, the best of them stay; in fairseq the first do.
      This can change the lower ranks of an n-best list.

    Attributes:
        shortlisted: whether the folder has a lexical shortlist. A batch's translations then have only symbols that one
            of its sources allows, and scores are relative to these symbols.
        parameters: number of parameters in the checkpoint.
        max_source_positions: the longest source that the model takes, ``</s>`` counted.
        max_target_positions: the decoder's positions.
    """

    def __init__(self, folder: Path, precision: str, task: TranslationTask):
        """Load a folder that :func:`~fairseq_kd.decoding.ctranslate2.conversion.write_model` wrote, for ``precision``.

        Raises:
            CannotConvert: the GPU cannot be used.
            UserError: the folder is damaged.
        """
        self.task = task
        made = read_made(folder)
        self.parameters: int = made["parameters"]
        self.max_source_positions: int = made["source_positions"]
        self.max_target_positions: int = made["target_positions"]
        self.shortlisted = (folder / VOCABULARY_MAP).is_file()
        self.translator, self.batch_size = load_parallel(folder, precision)

    def takes(self, source: torch.Tensor) -> bool:
        """As :meth:`Engine.takes`."""
        return 1 < len(source) <= self.max_source_positions

    def translate(
        self, sources: Sequence[torch.Tensor], options: DecodingOptions, progress: Progress | None = None
    ) -> list[list[Hypothesis]]:
        """As :meth:`Engine.translate`, with the length limits of the batches that fairseq makes.

        Raises:
            UserError: a batch does not fit the GPU, the search gives fewer than ``nbest`` hypotheses, a source begins
                with ``</s>``, or the options ask for a prefix or for no repeated n-grams.
        """
        options.require("ctranslate2")
        found = [[NOT_TRANSLATED] * options.nbest for _ in sources]
        usable = {i: len(source) for i, source in enumerate(sources) if self.takes(source)}
        if progress:
            progress(len(sources) - len(usable))
        words = {i: self._words(i, sources[i], options) for i in usable}
        search = BeamSearch(self.translator, words, options, shortlisted=self.shortlisted)
        limited = limited_batches(
            usable, options.max_tokens, self.batch_size, lambda size: options.longest(size, self.max_target_positions)
        )
        for i, beam in search.run(limited, progress).items():
            found[i] = self._read(i, beam, options.nbest, options.lenpen)
        return found

    def _words(self, sentence: int, source: torch.Tensor, options: DecodingOptions) -> list[str]:
        dictionary = self.task.source_dictionary
        words = source_words(source, dictionary)
        if words[:1] in ([], [dictionary.eos_word]):
            advice = (
                f"ctranslate2 takes a source that begins with {dictionary.eos_word} for an empty one; take the symbol "
                "out of the text, or give --engine fairseq"
            )
            raise TooFew(sentence, 0, options.nbest, advice=advice)
        return words

    def _read(self, sentence: int, beam: Beam, nbest: int, lenpen: float = 1.0) -> list[Hypothesis]:
        dictionary = self.task.target_dictionary
        found = []
        for tokens, score in best_of(beam, nbest, sentence):
            text = dictionary.string([dictionary.index(word) for word in tokens])
            found.append(Hypothesis.of_length(text, score, len(tokens) + 1, lenpen))
        return found
