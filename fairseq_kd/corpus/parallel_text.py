"""Parallel text: the two files ``PREFIX.SOURCE`` and ``PREFIX.TARGET`` of a split, line for line."""

from collections.abc import Iterable
from pathlib import Path

from fairseq_kd.data.byte_order_mark import without_mark
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import whole_file

SPLITS = ("train", "valid", "test")
LONGEST_LINE = 4192
"""sentencepiece learns from no line of more bytes than this, unless it is told another number."""


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, each with its white space reduced to single spaces.

    Only a newline ends a line. Carriage returns and Unicode's other separators count as white space, because fairseq
    would cut rows or subwords there.

    Raises:
        UserError: the file is missing or unreadable, or a line is not UTF-8; the message gives its number, from 1.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (a prefix and a language make the name PREFIX.LANG)") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    lines = raw.removesuffix(b"\n").split(b"\n") if raw else []
    texts = []
    for number, line in enumerate(lines, start=1):
        try:
            texts.append(" ".join(line.decode("utf-8").split()))
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: line {number}: not UTF-8 (byte {error.start + 1}); convert the file") from None
    if texts:
        texts[0] = " ".join(without_mark(texts[0], str(path)).split())
    return texts


def read_pair(prefix: str | Path, languages: tuple[str, str]) -> tuple[list[str], list[str]]:
    """Both sides of a split, as :func:`read_lines` reads them.

    Raises:
        UserError: as :func:`read_lines`, or the sides have different numbers of lines, or none.
    """
    paths = [Path(f"{prefix}.{language}") for language in languages]
    source, target = (read_lines(path) for path in paths)
    if len(source) != len(target):
        raise UserError(f"{paths[0]} has {len(source)} lines but {paths[1]} has {len(target)}: they must be parallel")
    if not source:
        raise UserError(f"{paths[0]}: the file is empty")
    return source, target


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as handle:
        handle.writelines(f"{line}\n" for line in lines)
