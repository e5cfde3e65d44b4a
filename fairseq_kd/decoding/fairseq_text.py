"""A fairseq checkpoint that translates text, by its dictionaries and, where it has them, sentencepiece models."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from fairseq.data import Dictionary

from fairseq_kd.data.databins.own_dictionaries import own_task
from fairseq_kd.data.text.pieces import load_spm
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.interface import Engine, Hypothesis, Progress
from fairseq_kd.decoding.options import DecodingOptions, Sampling
from fairseq_kd.decoding.sampling.sampler import Sampler
from fairseq_kd.decoding.text import TextHypothesis, one_line
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.storage.files import file_hash


class FairseqText:
    """A fairseq checkpoint or an ensemble as a :class:`~fairseq_kd.decoding.text.TextTranslator`.

    White space is reduced to single spaces, as ``fairseq-kd prepare`` does it before training.

    Attributes:
        languages: as :class:`~fairseq_kd.decoding.text.TextTranslator`.
        settings: as there.
        task: with the dictionaries.
    """

    def __init__(
        self,
        models: Sequence[str],
        *,
        data: str | Path | None = None,
        languages: tuple[str | None, str | None] = (None, None),
        source_spm: Path | None = None,
        target_spm: Path | None = None,
        engine: str = "auto",
        precision: str = "float32",
        search: DecodingOptions = DecodingOptions(),  # noqa: B008
        sampling: bool = False,
    ):
        """Find the dictionaries and choose an engine.

        Args:
            models: the checkpoints; several are an ensemble.
            data: folder with the dictionaries; None looks beside the first checkpoint, then in its recorded data-bin.
            languages: source and target; None: as the checkpoint or the data-bin has it.
            source_spm: sentencepiece model that cuts the lines; None: they are tokens separated by spaces already.
            target_spm: sentencepiece model that joins the translation; None: its text is its tokens.
            engine: one of :data:`fairseq_kd.decoding.options.ENGINES`.
            precision: one of :data:`fairseq_kd.decoding.options.PRECISIONS`.
            search: what the engine must be able to do.
            sampling: whether :meth:`draw` is to be called, and not :meth:`translate`.

        Raises:
            UserError: a file is missing or cannot be used, or the engine does not take the models or the search.
        """
        spm = [("source-spm", source_spm), ("target-spm", target_spm)]
        self._source_spm, self._target_spm = (
            load_spm(path, "--spm-model" if source_spm == target_spm else f"--{name}") if path else None
            for name, path in spm
        )
        self.task = own_task(models[0], read_checkpoint(models[0], "model", on_disk=True), data, languages)
        source, target = self.languages = (self.task.cfg.source_lang, self.task.cfg.target_lang)
        if sampling:
            self._chosen = choose_engine("fairseq", precision, models, self.task, Sampler)
        else:
            self._chosen = choose_engine(engine, precision, models, self.task, search=search)
        dictionaries = [f"dict.{language}.txt" for language in (source, target)]
        self.settings: dict[str, Any] = {
            "models": [file_hash(path) for path in models],
            "dictionaries": {name: file_hash(Path(self.task.cfg.data, name)) for name in dictionaries},
            "tokenizers": {name: file_hash(path) if path else None for name, path in spm},
            "source": source,
            "target": target,
            "engine": self._chosen.engine,
            "precision": self._chosen.precision,
        }

    @cached_property
    def engine(self) -> Engine:
        """The engine, its model loaded at the first use."""
        return self._chosen.build()

    def encode(self, line: str) -> torch.Tensor:
        """The token ids of a line, ``</s>`` at the end, shape (length,)."""
        plain = " ".join(line.split())
        pieces = plain.split() if self._source_spm is None else self._source_spm.encode(plain, out_type=str)
        return torch.tensor(_symbols(pieces, self.task.source_dictionary))

    def takes(self, line: str) -> bool:
        """As :meth:`TextTranslator.takes`."""
        return self.engine.takes(self.encode(line))

    def unknown_share(self, lines: Sequence[str]) -> float:
        """As :meth:`TextTranslator.unknown_share`."""
        symbols = [symbol for line in lines for symbol in self.encode(line)[:-1].tolist()]
        return symbols.count(self.task.source_dictionary.unk()) / len(symbols) if symbols else 0.0

    def translate(
        self, lines: Sequence[str], options: DecodingOptions, progress: Progress | None = None
    ) -> list[list[TextHypothesis]]:
        """As :meth:`TextTranslator.translate`.

        Raises:
            UserError: as the engine's ``translate``.
        """
        found = self.engine.translate([self.encode(line) for line in lines], options, progress)
        return [[self._text(hypothesis) for hypothesis in nbest] for nbest in found]

    def draw(
        self,
        lines: Sequence[str],
        first_row: int,
        options: DecodingOptions,
        sampling: Sampling,
        seed: int,
        progress: Progress,
    ) -> list[list[TextHypothesis]]:
        """Draw ``options.nbest`` samples of each line; the arguments are those of :meth:`Sampler.draw`.

        Raises:
            UserError: as :meth:`Sampler.draw`.
        """
        assert isinstance(self.engine, Sampler), "FairseqText(…, sampling=True) draws"
        sources = [self.encode(line) for line in lines]
        found = self.engine.draw(sources, first_row, options, sampling, seed, progress)
        return [[self._text(hypothesis) for hypothesis in nbest] for nbest in found]

    def _text(self, hypothesis: Hypothesis) -> TextHypothesis:
        text = _join(hypothesis.tokens, self._target_spm)
        return TextHypothesis(one_line(text), hypothesis.tokens, hypothesis.score)


def _symbols(pieces: Sequence[str], dictionary: Dictionary) -> list[int]:
    """The ids of subwords, then ``</s>``. fairseq's special symbols have no ids in text: they are unknown words."""
    unknown, special, known = dictionary.unk(), dictionary.nspecial, dictionary.indices
    ids = (known.get(piece, unknown) for piece in pieces)
    return [*(symbol if symbol >= special else unknown for symbol in ids), dictionary.eos()]


def _join(tokens: str, spm: sentencepiece.SentencePieceProcessor | None) -> str:
    return tokens if spm is None else spm.decode(tokens.split(" ") if tokens else [])
