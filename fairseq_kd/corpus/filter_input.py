"""The text that a filter reads: a decode's output with the teacher's scores, or the two files of parallel text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_kd.corpus.decoded_blocks import decode_folder, read_block
from fairseq_kd.corpus.signatures import read_made, require_unchanged
from fairseq_kd.corpus.text_lines import count_lines, stream_lines
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import SIGNATURE

LANGUAGE = re.compile(r"[^/\0]+")


@dataclass(frozen=True)
class Corpus:
    """Parallel text.

    Attributes:
        source: the file of the source side.
        target: the file of the target side.
        rows: of each.
        subset: the name of both files without the languages.
        languages: of source and target.
        signature: of the decode that wrote it; None where there is none.
    """

    source: Path
    target: Path
    rows: int
    subset: str
    languages: tuple[str, str]
    signature: dict[str, Any] | None

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Both sides of each row, as they stand."""
        return zip(stream_lines(self.source), stream_lines(self.target), strict=True)

    def scores(self) -> Iterator[float]:
        """The teacher's score of each row: log-probability to the base 2, divided by the number of tokens.

        Raises:
            UserError: no decode wrote the text, or its blocks are gone or damaged.
        """
        made = self.signature
        folder = self.source.parent
        if made is None or not {"options", "block_rows"} <= made.keys() or not (folder / "parts").is_dir():
            raise UserError(
                f"{folder}: it has no scores; --score-share needs the output of fairseq-kd decode, with its parts/"
            )
        settings = {**made, "rows": self.rows}
        for block in decode_folder(folder, settings).blocks:
            _, fields = read_block(block, made["options"]["nbest"])
            yield from (float(line[2]) for line in fields[:: made["options"]["nbest"]])


def open_corpus(text: Path, languages: tuple[str, str] | None) -> Corpus:
    """The corpus of a path.

    Args:
        text: the output folder of a decode, of a selection or of ``fairseq-kd recut``; or the prefix of the files
            ``PREFIX.SRC`` and ``PREFIX.TGT``.
        languages: the endings of the two files; for a folder None.

    Raises:
        UserError: a file is missing, the sides have different numbers of rows or none, or the languages are missing or
            no endings of two files.
    """
    signature = None
    if text.is_dir():
        signature = read_made(text)
        if signature is None or not {"subset", "source", "target"} <= signature.keys():
            raise UserError(
                f"{text}: no finished decode (it has no {SIGNATURE} of one); run fairseq-kd decode or merge"
            )
        languages = (signature["source"], signature["target"])
        require_unchanged(text, signature, *(f"{signature['subset']}.{language}" for language in languages))
        text = text / signature["subset"]
    if languages is None:
        raise UserError(f"{text}: no such folder; for the files {text}.SRC and {text}.TGT give the two languages")
    if languages[0] == languages[1] or not all(map(LANGUAGE.fullmatch, languages)):
        raise UserError(
            f"--source-lang {languages[0]} --target-lang {languages[1]}: they are the endings of two files; "
            "give two different ones, without a slash"
        )
    source, target = (text.with_name(f"{text.name}.{language}") for language in languages)
    rows = [count_lines(path) for path in (source, target)]
    if rows[0] != rows[1]:
        raise UserError(f"{source} has {rows[0]} lines but {target} has {rows[1]}: they must be parallel")
    if not rows[0]:
        raise UserError(f"{source}: the file is empty")
    return Corpus(source, target, rows[0], text.name, languages, signature)
