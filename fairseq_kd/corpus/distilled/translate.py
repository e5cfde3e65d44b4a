"""Translate a stream of lines, a line for a line."""

import logging
import time
from collections.abc import Iterable
from typing import IO

from fairseq_kd.corpus.text_lines import blocks_of
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.text import MOST_UNKNOWN, TextTranslator, check_tokenizer

logger = logging.getLogger(__name__)

BLOCK_LINES = 1000
"""Lines that are read, translated and written together."""


def translate_stream(
    translator: TextTranslator,
    lines: Iterable[bytes],
    output: IO[bytes],
    options: DecodingOptions,
    block_lines: int = BLOCK_LINES,
) -> int:
    """Write the best translation of each line, in order. Only one block is held in memory.

    Args:
        translator: what translates.
        lines: UTF-8 with their line breaks; a line is what ends with a newline.
        output: gets as many lines as there are in ``lines``. A line that the model does not take gives an empty one.
        options: how to search.
        block_lines: lines that are translated together; 1 answers each line before the next is read.

    Returns:
        The number of lines.

    Raises:
        UserError: a line is not UTF-8, the first block's symbols are unknown to the model, or the search fails.
        BrokenPipeError: whoever reads ``output`` has closed it.
    """
    count = 0
    for block in blocks_of(lines, block_lines, "standard input"):
        if not count:
            check_tokenizer(translator, block)
        found = translator.translate(block, options)
        output.write("".join(f"{best.text}\n" for best, *_ in found).encode("utf-8"))
        output.flush()
        count += len(block)
    return count


def translate_interactively(
    translator: TextTranslator, lines: Iterable[bytes], output: IO[bytes], options: DecodingOptions
) -> None:
    """Answer each line with its translation, the score and the time in milliseconds.

    The arguments are those of :func:`translate_stream`.
    """
    translator.translate([""], options)  # loads the model, whose time is no sentence's
    logger.info("type a sentence and Enter; Ctrl-D ends")
    for (line,) in blocks_of(lines, 1, "standard input"):
        output.write(f"{_answer(translator, line, options)}\n".encode())
        output.flush()


def _answer(translator: TextTranslator, line: str, options: DecodingOptions) -> str:
    if not translator.takes(line):
        return "(not translated: the line is empty or longer than the model takes)"
    unknown = translator.unknown_share([line])
    if unknown > MOST_UNKNOWN:
        logger.warning("%.0f%% of the line's symbols are unknown to the model", 100 * unknown)
    begun = time.perf_counter()
    ((best, *_),) = translator.translate([line], options)
    return f"{best.text}\t{best.score:.4f}\t{1000 * (time.perf_counter() - begun):.0f} ms"
