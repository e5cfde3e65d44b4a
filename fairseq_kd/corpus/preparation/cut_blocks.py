"""Blocks of a split cut into subwords: for each one file, with the text and fairseq's numbers of both sides.

``parts/SPLIT-NNNNN.npz`` holds, for the sides 0 and 1, ``textN`` (UTF-8), ``sizesN`` (symbols of each row, ``</s>``
counted) and ``symbolsN`` (fairseq's numbers, row after row).
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from fairseq_kd.corpus.parallel_text import Stretch
from fairseq_kd.corpus.preparation.subword_model import FAIRSEQ_SYMBOLS, dictionary_lines, symbol_numbers
from fairseq_kd.data.databins.row_files import number_type
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Block
from fairseq_kd.storage.checksums import Damaged, read_sealed
from fairseq_kd.storage.files import write_sealed

END, UNKNOWN = FAIRSEQ_SYMBOLS.index("</s>"), FAIRSEQ_SYMBOLS.index("<unk>")


@dataclass(frozen=True)
class CutSide:
    """One side of a block.

    Attributes:
        text: its rows of subwords, a line each.
        sizes: the symbols of each row, ``</s>`` counted, int32, shape (rows,).
        symbols: fairseq's numbers of them, shape (sum of the sizes,).
    """

    text: bytes
    sizes: np.ndarray
    symbols: np.ndarray

    @cached_property
    def unknown(self) -> int:
        """How many subwords the dictionary lacks."""
        return int((self.symbols == UNKNOWN).sum())


Cut = tuple[CutSide, CutSide]


class Cutter:
    """Cuts text by a model.

    Args:
        model: cuts the text.
    """

    def __init__(self, model: sentencepiece.SentencePieceProcessor):
        self.model = model
        lines = dictionary_lines(model)
        self.numbers = symbol_numbers(lines)
        self.kind = number_type(len(FAIRSEQ_SYMBOLS) + len(lines))

    def cut(self, sides: Sequence[Sequence[str]], drop_empty: bool) -> Cut:
        """Cut both sides of a block.

        Args:
            sides: the lines of the source and of the target.
            drop_empty: whether to leave out rows with an empty side.
        """
        rows = list(zip(*(self.model.encode(list(lines), out_type=str, num_threads=1) for lines in sides), strict=True))
        if drop_empty:
            rows = [row for row in rows if all(row)]
        source, target = (self._side([row[number] for row in rows]) for number in (0, 1))
        return source, target

    def _side(self, rows: Sequence[Sequence[str]]) -> CutSide:
        text = "".join(" ".join(pieces) + "\n" for pieces in rows).encode()
        sizes = np.array([len(pieces) + 1 for pieces in rows], np.int32)
        symbols = np.full(int(sizes.sum()), END, self.kind)
        inside = np.ones(len(symbols), bool)
        inside[np.cumsum(sizes) - 1] = False
        symbols[inside] = [self.numbers.get(piece, UNKNOWN) for pieces in rows for piece in pieces]
        return CutSide(text, sizes, symbols)


@lru_cache(maxsize=1)
def _cutter(model: bytes) -> Cutter:
    return Cutter(sentencepiece.SentencePieceProcessor(model_proto=model))


def cut_block(block: Block, model: Path, stretches: tuple[Stretch, Stretch], drop_empty: bool) -> int:
    """Cut a block and write its file; returns the number of its rows before any was dropped.

    Args:
        block: has one file.
        model: the file of the sentencepiece model.
        stretches: the block's lines of both sides.
        drop_empty: whether to leave out rows with an empty side.
    """
    found = _cutter(model.read_bytes()).cut([stretch.lines() for stretch in stretches], drop_empty)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {}
    for number, side in enumerate(found):
        arrays[f"text{number}"] = np.frombuffer(side.text, np.uint8)
        arrays[f"sizes{number}"], arrays[f"symbols{number}"] = side.sizes, side.symbols
    np.savez(buffer, **arrays)
    write_sealed(block.paths[0], buffer.getvalue())
    return len(block.rows)


def read_cut(block: Block) -> Cut:
    """What :func:`cut_block` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    (path,) = block.paths
    try:
        held = np.load(io.BytesIO(read_sealed(path)), allow_pickle=False)
        source, target = (
            CutSide(held[f"text{number}"].tobytes(), held[f"sizes{number}"], held[f"symbols{number}"])
            for number in (0, 1)
        )
        for side in (source, target):
            if side.text.count(b"\n") != len(side.sizes) or side.sizes.sum() != len(side.symbols):
                raise Damaged("its text and its numbers have different rows")
    except Exception as error:  # numpy lets errors of its parser, of zipfile and of others through
        raise UserError(f"{path}: cannot be read ({error}); delete it and run the command again") from None
    return source, target
