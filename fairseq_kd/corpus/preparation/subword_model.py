"""A sentencepiece model of a text, and fairseq's dictionary of it."""

import io
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

import sentencepiece

from fairseq_kd.corpus.parallel_text import LONGEST_LINE
from fairseq_kd.errors import UserError

logger = logging.getLogger(__name__)
FAIRSEQ_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")
"""What every dictionary of fairseq begins with, outside of its file."""


@dataclass
class _Measured:
    """Lines on their way to sentencepiece, and how many of them it passes over."""

    lines: Iterable[str]
    most: int
    read: int = 0
    passed_over: int = 0

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            self.read += 1
            self.passed_over += len(line) * 4 > self.most and len(line.encode()) > self.most
            yield line


def train_spm(lines: Iterable[str], vocab_size: int, longest_line: int = LONGEST_LINE) -> bytes:
    """A sentencepiece unigram model, the same for the same lines.

    Lines of more bytes than ``longest_line`` are passed over; the log counts them.

    Raises:
        UserError: sentencepiece refuses, for example because the vocabulary is too large or too small for the text.
    """
    if longest_line < 1:
        raise UserError(f"--max-line-bytes {longest_line}: give 1 or more")
    model, measured = io.BytesIO(), _Measured(lines, longest_line)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(measured),
            model_writer=model,
            vocab_size=vocab_size,
            max_sentence_length=longest_line,
            model_type="unigram",
            character_coverage=1.0,
            # The model depends on how the text is cut over threads, so the number is the same on every machine.
            num_threads=4,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        # Cut off the place in sentencepiece's code before the reason and the advice on its options after it.
        reason = str(error).rpartition("] ")[2].partition(" Increase ")[0]
        raise UserError(f"--vocab-size {vocab_size}: sentencepiece says: {reason}") from None
    if measured.passed_over:
        logger.warning(
            "%d of %d lines are longer than %d bytes: sentencepiece learned nothing from them, and characters that "
            "only they have become <unk>; cut the lines, or give a larger --max-line-bytes",
            measured.passed_over, measured.read, longest_line,
        )  # fmt: skip
    return model.getvalue()


def dictionary_lines(model: sentencepiece.SentencePieceProcessor) -> list[str]:
    """fairseq's dictionary of a sentencepiece model, "symbol count" lines.

    fairseq adds its special symbols by itself. A piece of the same name is text; ``#fairseq:overwrite`` gives it a
    place of its own. A piece with a line break, which no line of text holds, would end its line: it is left out. Every
    count is 1, so that the dictionary depends on the model alone.
    """
    ordinary = (i for i in range(model.get_piece_size()) if not (model.is_control(i) or model.is_unknown(i)))
    pieces = [piece for piece in map(model.id_to_piece, ordinary) if not {"\n", "\r"} & set(piece)]
    return [f"{piece} 1{' #fairseq:overwrite' if piece in FAIRSEQ_SYMBOLS else ''}" for piece in pieces]


def symbol_numbers(lines: Iterable[str]) -> dict[str, int]:
    """The number that fairseq gives each symbol of a dictionary, whose lines :func:`dictionary_lines` gave."""
    pieces = [line.split(" ")[0] for line in lines]
    own = {symbol: number for number, symbol in enumerate(FAIRSEQ_SYMBOLS)}
    return own | {piece: number for number, piece in enumerate(pieces, len(FAIRSEQ_SYMBOLS))}


def drawn(rows: int, count: int, seed: int) -> Iterator[bool]:
    """For each of ``rows`` whether it is one of ``count`` rows drawn by ``seed``; all where there are no more.

    Every set of so many rows is as likely (Knuth, The Art of Computer Programming, volume 2, algorithm 3.4.2S). Memory
    does not grow with the rows.
    """
    random, left = Random(seed), min(count, rows)
    for behind in range(rows, 0, -1):
        taken = left == behind or random.random() * behind < left
        left -= taken
        yield taken
