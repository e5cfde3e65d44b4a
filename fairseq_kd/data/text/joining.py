"""Subwords joined to text, and whether a way of joining fits a vocabulary."""

import logging
import re
from collections.abc import Iterable, Sequence

from fairseq.data.data_utils import post_process

from fairseq_kd.data.text.subwords import BYTE

logger = logging.getLogger(__name__)

MARKS = {
    "sentencepiece": "▁ at the start of words",
    "subword_nmt": "@@ at the end of parts",
    "none": "neither ▁ nor @@",
}
OTHER_MARKS = {
    re.compile("Ġ.*"): "Ġ at the start of words, as byte-level BPE has it",
    re.compile("##.+"): "## at the start of parts, as WordPiece has it",
    re.compile("[^<].*</w>"): "</w> at the end of words",
    re.compile(".+_EOW"): "_EOW at the end of words",
    re.compile(".*￭.*"): "￭ between parts, as OpenNMT's tokenizer has it",
}
"""Marks that no way of joining knows."""
FEWEST_NUMBERS = 256
"""The symbols of a vocabulary of numbers alone, which then counts as GPT-2's: that has one for each byte, and more."""
SHARE = 0.01
"""A text may hold a mark by chance; a vocabulary of subwords has it in more symbols than this share."""


def join(subwords: str, post: str) -> str:
    """A row's text.

    As fairseq's ``post_process``, but a run of byte-fallback pieces becomes its characters, as sentencepiece decodes
    it: a byte that belongs to no character becomes U+FFFD. Text that only looks like such a piece stays.

    Args:
        subwords: separated by spaces.
        post: one of :data:`fairseq_kd.data.text.subwords.POST_PROCESSES`.
    """
    if post != "sentencepiece" or "<0x" not in subwords:
        return post_process(subwords, post)
    text, run = [], bytearray()
    for piece in subwords.split(" "):
        byte = BYTE.fullmatch(piece)
        if byte:
            run.append(int(byte[1], 16))
            continue
        text += [_characters(run), piece.replace("▁", " ")]
        run.clear()
    return "".join([*text, _characters(run)]).strip()


def _characters(run: bytearray) -> str:
    found, place = [], 0
    while place < len(run):
        for size in range(1, 5):
            try:
                found.append(bytes(run[place : place + size]).decode("utf-8"))
            except UnicodeDecodeError:
                continue
            place += size
            break
        else:
            found.append("\N{REPLACEMENT CHARACTER}")
            place += 1
    return "".join(found)


def fitting_post_process(symbols: Iterable[str]) -> str | None:
    """How the subwords of a vocabulary or a text are joined, as their marks tell it; None where there are none.

    Args:
        symbols: of a dictionary, or the tokens of a text; special symbols do not matter.
    """
    counts = {"sentencepiece": 0, "subword_nmt": 0, "none": 0}
    for symbol in symbols:
        kind = "sentencepiece" if "▁" in symbol else "subword_nmt" if symbol.endswith("@@") else "none"
        counts[kind] += len(symbol) > 0
    marked = max(("sentencepiece", "subword_nmt"), key=counts.__getitem__)
    if counts[marked] > SHARE * sum(counts.values()):
        return marked
    return "none" if counts["none"] else None


def other_marks(symbols: Sequence[str]) -> str | None:
    """The marks of a vocabulary or a text that no way of joining knows, in words; None where there are none."""
    for pattern, words in OTHER_MARKS.items():
        if sum(pattern.fullmatch(symbol) is not None for symbol in symbols) > SHARE * len(symbols):
            return words
    own = {symbol for symbol in symbols if not symbol.startswith("madeupword")}
    numbers = sum(symbol.isdecimal() for symbol in own)
    if len(own) >= FEWEST_NUMBERS and numbers > (1 - SHARE) * len(own):
        return "numbers alone, as the byte-level BPE of GPT-2 and BART has them"
    return None


def warn_of_joining(symbols: Iterable[str], post: str, what: str) -> None:
    """Log a warning where subwords are joined in a way that does not fit them.

    Args:
        symbols: as :func:`fitting_post_process` takes them.
        post: how they are joined.
        what: what the message calls them.
    """
    symbols = list(symbols)
    fitting, unknown = fitting_post_process(symbols), other_marks(symbols)
    if fitting == "none" and unknown is not None:
        logger.warning(
            "--post-process %s does not fit %s, which has %s: no --post-process joins these, so that the text and its "
            "scores are of parts of words; join the text with the tool that cut it, and score that",
            post, what, unknown,
        )  # fmt: skip
    elif fitting is not None and fitting != post:
        logger.warning(
            "--post-process %s does not fit %s, which has %s: the joined text is wrong; give --post-process %s",
            post, what, MARKS[fitting], fitting,
        )  # fmt: skip
