"""The text that a filter reads: a decode's output with the teacher's scores, or the two files of parallel text."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_kd.corpus.compressed import find_text
from fairseq_kd.corpus.distilled.decoded_blocks import decode_folder, read_block
from fairseq_kd.corpus.parallel_text import no_compressed_names
from fairseq_kd.corpus.recut import look_at_marks
from fairseq_kd.corpus.signatures import joining, read_made, require_unchanged
from fairseq_kd.corpus.text_lines import count_lines, stream_lines
from fairseq_kd.data.databins.files import UNNAMED, Languages
from fairseq_kd.data.text.unspaced import language_of_uncut
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import SIGNATURE

logger = logging.getLogger(__name__)

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

    def joinings(self, post: str) -> tuple[str, str]:
        """How the subwords of both sides are joined where ``post`` is asked for; a warning if the text looks otherwise.

        Text that ``decode --input`` joined with a sentencepiece model stays as it is.
        """
        posts = (joining(self.signature, "source", post), joining(self.signature, "target", post))
        for path, own in zip((self.source, self.target), posts, strict=True):
            look_at_marks(path, own)
        return posts

    def look_at_spaces(self, length_unit: str) -> None:
        """Log a warning where lengths count tokens, and a side has no spaces between its words."""
        for path, code in zip((self.source, self.target), self.languages, strict=True):
            language = language_of_uncut(stream_lines(path), code)
            if length_unit == "tokens" and language:
                logger.warning(
                    "--length-unit tokens counts %s wrongly, as %s text has no spaces between words; give "
                    "--length-unit characters, and a --length-ratio for the two scripts",
                    path, language,
                )  # fmt: skip

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


def open_corpus(text: Path, languages: Languages | None) -> Corpus:
    """The corpus of a path.

    Args:
        text: the output folder of a decode, of a selection or of ``fairseq-kd recut``; or the prefix of the files
            ``PREFIX.SRC`` and ``PREFIX.TGT``, perhaps compressed: ``PREFIX.SRC.gz``.
        languages: the endings of the two files, without that of a compressed one; for a folder they are not needed.

    Raises:
        UserError: a file is missing, the sides have different numbers of rows or none, or the languages are missing,
            no endings of two files, or not those of the folder.
    """
    signature, named = None, languages or UNNAMED
    if text.is_dir():
        signature = _signature(text, named)
        named = (signature["source"], signature["target"])
        text = text / signature["subset"]
    source_lang, target_lang = named
    if source_lang is None or target_lang is None:
        raise UserError(f"{text}: no such folder; for the files {text}.SRC and {text}.TGT give the two languages")
    pair = (source_lang, target_lang)
    source, target = _files(text, pair)
    rows = [count_lines(path) for path in (source, target)]
    if rows[0] != rows[1]:
        raise UserError(f"{source} has {rows[0]} lines but {target} has {rows[1]}: they must be parallel")
    if not rows[0]:
        raise UserError(f"{source}: the file is empty")
    return Corpus(source, target, rows[0], text.name, pair, signature)


def _signature(folder: Path, named: Languages) -> dict[str, Any]:
    """The signature of a decode, whose languages are those that were named, if any were."""
    made = read_made(folder)
    if made is None or not {"subset", "source", "target"} <= made.keys():
        raise UserError(f"{folder}: no finished decode (it has no {SIGNATURE} of one); run fairseq-kd decode or merge")
    for side, name in zip(("source", "target"), named, strict=True):
        if name not in (None, made[side]):
            raise UserError(
                f"--{side}-lang {name}: the languages of {folder} are {made['source']} and {made['target']}, as its "
                f"{SIGNATURE} says; leave out --source-lang and --target-lang"
            )
    require_unchanged(folder, made, *(f"{made['subset']}.{made[side]}" for side in ("source", "target")))
    return made


def _files(prefix: Path, pair: tuple[str, str]) -> list[Path]:
    if pair[0] == pair[1] or not all(map(LANGUAGE.fullmatch, pair)):
        raise UserError(
            f"--source-lang {pair[0]} --target-lang {pair[1]}: they are the endings of two files; "
            "give two different ones, without a slash"
        )
    no_compressed_names(prefix, pair)
    return [find_text(prefix.with_name(f"{prefix.name}.{language}")) for language in pair]
