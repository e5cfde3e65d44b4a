"""Text of one vocabulary cut anew with another's subwords, row by row.

A teacher's output can teach a student of another vocabulary once its subwords are joined to text and the text is cut
with the student's sentencepiece model. Rows stay where they are; an empty row stays empty.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor

from fairseq_kd.corpus.coverage import Coverage
from fairseq_kd.corpus.distilled.decode_text import SUBSET
from fairseq_kd.corpus.signatures import joining, read_made, require_unchanged
from fairseq_kd.corpus.text_lines import count_lines, stream_lines
from fairseq_kd.data.databins.databin import open_databin, open_dictionaries
from fairseq_kd.data.databins.files import UNNAMED, Languages, check_pair, file_names
from fairseq_kd.data.text.joining import join, warn_of_joining
from fairseq_kd.data.text.pieces import load_spm
from fairseq_kd.data.text.same_text import same_text
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import SIGNATURE, BlockFolder
from fairseq_kd.storage.files import file_hash, whole_file
from fairseq_kd.storage.provenance import versions

logger = logging.getLogger(__name__)

OTHER_TEXT = 0.05
"""The largest share of rows whose source may differ between the decoded text and the student's data-bin."""
OF_STUDENT = "sentencepiece"
"""How the student's subwords are joined: a sentencepiece model cut them."""
ROWS_LOOKED_AT = 200
"""Rows whose marks tell whether ``--post-process`` fits the text."""


def recut(
    decoded: Path,
    student_data: Path,
    spm_model: Path,
    output: Path,
    *,
    post: str = "sentencepiece",
    source: str = "databin",
    languages: Languages = UNNAMED,
) -> dict[str, Any]:
    """Cut a teacher's translations with a student's subwords: ``SUBSET.SRC``, ``SUBSET.TGT`` and a signature.

    Args:
        decoded: the output folder of a decode or of a selection.
        student_data: the student's data-bin.
        spm_model: the sentencepiece model that cut it.
        output: another folder, which gets the text.
        post: how the teacher's subwords are joined, one of :data:`fairseq_kd.data.text.subwords.POST_PROCESSES`. Text
            that ``decode --input`` joined with a sentencepiece model stays as it is.
        source: "databin" takes the source side from the student's data-bin, which must have the same rows; "decoded"
            cuts the decoded source anew.
        languages: source and target as the student's data-bin names them, where the teacher's tags are other words.

    Returns:
        The signature: "subset", "source", "target", "rows", hashes of what it was made from, "unknown" (the share of
        tokens that the student's dictionary lacks, by language), the decode's own signature ("decode") and "versions".

    Raises:
        UserError: ``decoded`` is not finished or has changed, the languages or rows differ, the sentencepiece model is
            not the student's (more than 5 % of the pieces are not in a dictionary), or ``output`` holds other text.
    """
    made = _signature(decoded, output)
    subset, tags = made["subset"], (made["source"], made["target"])
    pair = (languages[0] or tags[0], languages[1] or tags[1])
    if source == "databin" and subset == SUBSET:
        raise UserError(f"{decoded}: it was decoded from raw text, so no data-bin has its rows; give --source decoded")
    check_pair(student_data, pair, f"--student-data {student_data}", str(decoded))
    model, task = load_spm(spm_model), open_dictionaries(student_data, pair)
    posts = [joining(made, side, post) for side in ("source", "target")]
    settings = {
        "subset": subset,
        "source": pair[0],
        "target": pair[1],
        "rows": made["rows"],
        "decoded": {name: made["sha256"].get(name) for name in (f"{subset}.{tag}" for tag in tags)},
        "spm_model": file_hash(spm_model),
        "student_data": _hashes(student_data, subset, pair, whole=source == "databin"),
        "recut": {"post_process": [posts[1], OF_STUDENT], "source": source},
        "block_rows": made["rows"],
    }
    folder = BlockFolder(output, "recut", settings, output, ())
    paths = [output / f"{subset}.{language}" for language in pair]
    folder.check()
    finished = folder.finished(paths)
    if finished:
        logger.info("%s: already cut with these settings; nothing to do", output)
        return finished
    rows = [_joined(decoded / f"{subset}.{one}", how) for one, how in zip(tags, posts, strict=True)]
    coverages = [Coverage(one.indices.__contains__) for one in (task.source_dictionary, task.target_dictionary)]
    sides = [_cut(model, side(), coverage) for side, coverage in zip(rows, coverages, strict=True)]
    if source == "databin":
        sides[0] = _own_source(student_data, subset, pair, made["rows"], rows[0])
    with ExitStack() as stack:
        handles = [stack.enter_context(whole_file(path)) for path in paths]
        for pieces in zip(*sides, strict=True):
            for handle, line in zip(handles, pieces, strict=True):
                handle.write(line + "\n")
        for coverage, language, tag in zip(coverages, pair, tags, strict=True):
            advice = "give the sentencepiece model that cut the student's data as --spm-model"
            coverage.check(f"{decoded}/{subset}.{tag}", f"{student_data}/dict.{language}.txt", advice)
    unknown = {language: coverage.share for language, coverage in zip(pair, coverages, strict=True)}
    return folder.finish(paths, {"unknown": unknown, "decode": made, "versions": versions()})


def _signature(decoded: Path, output: Path) -> dict[str, Any]:
    """The signature of the text to cut; a UserError where there is none or the text is no longer that."""
    if decoded.resolve() == output.resolve():
        raise UserError(f"--output {output}: the decoded text is in it; give another folder")
    made = read_made(decoded)
    if made is None or not {"subset", "source", "target", "rows", "sha256"} <= made.keys():
        raise UserError(f"{decoded}: no finished decode (it has no {SIGNATURE} of one); run fairseq-kd decode or merge")
    # A filter's signature has the rows of its input, and the lines of its output.
    made = {**made, "rows": made.get("lines", {}).get(f"{made['subset']}.{made['target']}", made["rows"])}
    for language in (made["source"], made["target"]):
        path = decoded / f"{made['subset']}.{language}"
        found = count_lines(path)
        if found != made["rows"]:
            raise UserError(f"{path}: {found} lines, {SIGNATURE} says {made['rows']} rows; decode or merge it again")
        require_unchanged(decoded, made, path.name)
    return made


def _hashes(data: Path, subset: str, pair: tuple[str, str], whole: bool) -> dict[str, str]:
    names = [f"dict.{language}.txt" for language in pair]
    if whole:
        names += file_names(data, subset, *pair, pair[0])
    return {name: file_hash(data / name) for name in names if (data / name).is_file()}


def _joined(path: Path, post: str) -> Callable[[], Iterator[str]]:
    """The rows of a file of subwords as text, from the first on at each call."""
    look_at_marks(path, post)
    return lambda: (plain(row, post) for row in stream_lines(path))


def look_at_marks(path: Path, post: str) -> None:
    """Log a warning where the first rows of a file of subwords do not look like text that ``post`` joins."""
    first = (token for line in islice(stream_lines(path), ROWS_LOOKED_AT) for token in line.split(" "))
    warn_of_joining(first, post, str(path))


def plain(subwords: str, post: str) -> str:
    """A row's text, its white space reduced to single spaces.

    Args:
        subwords: separated by spaces.
        post: how they are joined: "sentencepiece", "subword_nmt" or "none".
    """
    return " ".join(join(subwords, post).split())


def _cut(model: SentencePieceProcessor, rows: Iterator[str], coverage: Coverage) -> Iterator[str]:
    """The rows in a sentencepiece model's pieces, with spaces between; each is counted."""
    for text in rows:
        pieces = model.encode(text, out_type=str)
        coverage.add(pieces)
        yield " ".join(pieces)


def _own_source(
    data: Path, subset: str, pair: tuple[str, str], rows: int, decoded: Callable[[], Iterator[str]]
) -> Iterator[str]:
    """The source side of the student's data-bin in subwords; a UserError where it is not the decoded text."""
    task = open_databin(data, subset, pair)
    pairs = task.dataset(subset)
    advice = "give the student's data-bin of the same text, or --source decoded"
    if len(pairs) != rows:
        raise UserError(f"--student-data {data}: {subset} has {len(pairs)} rows, the decoded text {rows}; {advice}")

    def lines() -> Iterator[str]:
        other, first = 0, -1
        for row, text in enumerate(decoded()):
            subwords = task.source_dictionary.string(pairs.src[row])
            if not same_text(plain(subwords, OF_STUDENT), text):
                first = row if other == 0 else first
                other += 1
            yield subwords
        if other > OTHER_TEXT * rows:
            raise UserError(
                f"--student-data {data}: the source of {other} of {rows} rows is not the decoded one (the first is row "
                f"{first}, from 0); {advice}"
            )

    return lines()
