"""Which symbols of a model's dictionaries a text uses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fairseq.data import Dictionary
from sentencepiece import SentencePieceProcessor

from fairseq_kd.compress.restricted_spm import cutter_of_pieces, restricted
from fairseq_kd.corpus.compressed import plain_name
from fairseq_kd.corpus.coverage import Coverage
from fairseq_kd.corpus.text_lines import stream_lines
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.databins.files import splits_of
from fairseq_kd.data.databins.vocabulary import first_difference
from fairseq_kd.data.text.subwords import BYTE
from fairseq_kd.errors import UserError


@dataclass
class Side:
    """One side of a model: its language, its dictionary and the symbols in use.

    Attributes:
        language: its code.
        file: holds the model's dictionary.
        dictionary: what the file holds.
        used: numbers of the symbols to keep for the text.
    """

    language: str
    file: Path
    dictionary: Dictionary
    used: set[int] = field(default_factory=set)

    def kept(self, characters: bool) -> list[int]:
        """The numbers of the symbols to keep, in their order: fairseq's specials, bytes, and what the text uses.

        Args:
            characters: whether pieces of one character are kept, too.
        """
        symbols = self.dictionary.symbols

        def always(number: int) -> bool:
            symbol = symbols[number]
            return (
                number < self.dictionary.nspecial or bool(BYTE.fullmatch(symbol)) or (characters and len(symbol) == 1)
            )

        return [number for number in range(len(symbols)) if number in self.used or always(number)]

    def kept_symbols(self) -> set[str]:
        """The symbols that are kept where text is cut by a sentencepiece model."""
        return {self.dictionary.symbols[number] for number in self.kept(characters=True)}


def read_use(sides: Sequence[Side], data: Sequence[Path], spm: SentencePieceProcessor | None) -> None:
    """Add to the sides what text files and data-bins use. Sides with equal dictionaries get the symbols of both.

    Args:
        sides: source and target.
        data: text files named ``….LANG``, perhaps compressed, and data-bins with the model's dictionaries. Of a model
            with one dictionary, a file with another name counts for both sides.
        spm: cuts the text files; None: they are in subwords already.

    Raises:
        UserError: a file is missing or damaged, its name does not tell its language, more than 5 % of its tokens are
            not in the dictionary, a data-bin has other dictionaries, or there is no text of a side.
    """
    joined = first_difference(sides[0].dictionary, sides[1].dictionary) is None
    for path in data:
        if path.is_dir():
            _read_databin(sides, path)
        else:
            _read_text(_sides_of(sides, path, joined), path, spm)
    for side in sides:
        if not side.used:
            told = f"no text in {side.language}, so the trimmed model would lack its words"
            raise UserError(f"--data: {told}; add text in {side.language}")
    if joined:
        sides[0].used |= sides[1].used
        sides[1].used |= sides[0].used


def restrict_to_kept(sides: Sequence[Side], spm: SentencePieceProcessor) -> bytes:
    """The serialised sentencepiece model that uses kept pieces alone; pieces that it cannot replace become used first.

    A removed piece is cut into smaller ones. Its side may lack one of these: a character that its dictionary never had
    by itself, or a piece of the other side's. The text would become ``<unk>``, so such a piece stays. A piece that the
    text of one side uses stays on both, since the model goes on using it.

    Args:
        sides: source and target, after :func:`read_use`.
        spm: the model that cut their text.
    """
    while True:
        known = {symbol for side in sides for symbol in side.kept_symbols()}
        for side in sides:
            side.used.update(number for symbol, number in side.dictionary.indices.items() if symbol in known)
        model = restricted(spm, known.__contains__)
        cutter, before = cutter_of_pieces(model), sum(len(side.used) for side in sides)
        for side in sides:
            side.used |= _irreplaceable(side, spm, cutter)
        if sum(len(side.used) for side in sides) == before:
            return model


def _irreplaceable(side: Side, spm: SentencePieceProcessor, cutter: SentencePieceProcessor) -> set[int]:
    """The numbers of the side's removed pieces that ``cutter`` does not cut into the side's kept symbols."""
    own, found = side.kept_symbols(), set()
    for symbol, number in side.dictionary.indices.items():
        piece = spm.piece_to_id(symbol)
        cut_before = not (spm.is_unknown(piece) or spm.is_unused(piece) or spm.is_control(piece))
        if symbol not in own and cut_before and not own.issuperset(cutter.encode(symbol, out_type=str)):
            found.add(number)
    return found


def _sides_of(sides: Sequence[Side], path: Path, joined: bool) -> Sequence[Side]:
    """The side that a text file belongs to; with one dictionary for both, a name without a language means both."""
    found = [side for side in sides if plain_name(path).endswith(f".{side.language}")][:1]
    if not found and not joined:
        names = " or ".join(f".{side.language}" for side in sides)
        raise UserError(f"--data {path}: its name tells no language; end it with {names}")
    return found or sides


def _read_text(sides: Sequence[Side], path: Path, spm: SentencePieceProcessor | None) -> None:
    indices = sides[0].dictionary.indices
    coverage = Coverage(indices.__contains__)
    cut: Callable[[str], list[str]] = str.split if spm is None else lambda row: spm.encode(row, out_type=str)
    for row in stream_lines(path):
        tokens = cut(row)
        coverage.add(tokens)
        for side in sides:
            side.used.update(indices[token] for token in tokens if token in indices)
    advice = "give text in the model's subwords, or raw text and the model's own --spm-model"
    coverage.check(f"--data {path}", f"the model's dictionary of {sides[0].language}", advice)


def _read_databin(sides: Sequence[Side], path: Path) -> None:
    pair = (sides[0].language, sides[1].language)
    ending = f".{'-'.join(pair)}.{pair[0]}.idx"
    splits = splits_of(path, *pair)
    if not splits:
        raise UserError(f"--data {path}: no file named like train{ending}; give a data-bin in the model's languages")
    for split in splits:
        task = open_databin(path, split, pair)
        dataset = task.dataset(split)
        own = ((dataset.src, task.source_dictionary), (dataset.tgt, task.target_dictionary))
        for side, (rows, dictionary) in zip(sides, own, strict=True):
            difference = first_difference(dictionary, side.dictionary)
            if difference:
                reason = f"its dictionary of {side.language} is not the model's: {difference}"
                raise UserError(f"--data {path}: {reason}; give a data-bin with the model's dictionaries")
            if rows is not None:
                mask = np.zeros(len(dictionary), dtype=bool)
                for row in range(len(rows)):
                    mask[rows[row].numpy()] = True
                side.used.update(np.flatnonzero(mask).tolist())
