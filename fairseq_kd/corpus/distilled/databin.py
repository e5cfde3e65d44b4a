"""A distilled data-bin's training split: the rows that the teacher translated, with the gold data-bin's sources."""

import logging
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from fairseq.data.indexed_dataset import MMapIndexedDataset

from fairseq_kd.corpus.signatures import read_made, require_unchanged
from fairseq_kd.corpus.text_lines import stream_lines
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.databins.files import TRAIN, file_names
from fairseq_kd.data.databins.left_out import MISSING, hashes, places, read_left_out, write_left_out
from fairseq_kd.data.databins.row_files import open_row_files
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import one_line_errors


def keep_translated(text: Path, source: str, target: str, data: Path, subset: str = TRAIN) -> int:
    """Find the rows that the teacher did not translate.

    The signature of the decode names them. Where there is none, they are the rows with an empty target. (A sample may
    be empty too; the teacher then gave the end of the sentence at once, and a student should learn that.)

    ``data`` gets ``left_out.json`` and, where there are such rows, ``kept.SOURCE`` and ``kept.TARGET`` without them.

    Args:
        text: the folder of ``SUBSET.SOURCE`` and ``SUBSET.TARGET``.
        source: the source language.
        target: the target language.
        data: the folder of the new data-bin.
        subset: begins the names of the text: "train", or "text" of raw text.

    Returns:
        The number of rows left out.

    Raises:
        UserError: a file cannot be read, or no row was translated.
    """
    pair = [text / f"{subset}.{language}" for language in (source, target)]
    named, rows, left_out = _skipped(text, [path.name for path in pair]), 0, []
    for row in stream_lines(pair[1]):
        if not row.strip() and (named is None or rows in named):
            left_out.append(rows)
        rows += 1
    if len(left_out) == rows:
        raise UserError(f"{pair[1]}: the teacher translated none of the {rows} rows; does it take such long sources?")
    write_left_out(data, TRAIN, rows, left_out)
    if left_out:
        with ExitStack() as stack:
            kept = [
                stack.enter_context(open(data / f"kept.{side}", "w", encoding="utf-8")) for side in (source, target)
            ]
            missing = set(left_out)
            for number, texts in enumerate(zip(*map(stream_lines, pair), strict=True)):
                if number not in missing:
                    for handle, line in zip(kept, texts, strict=True):
                        handle.write(line + "\n")
    return len(left_out)


def _skipped(text: Path, names: list[str]) -> set[int] | None:
    """The rows that a decode named as not translated; None where no signature speaks of them."""
    made = read_made(text)
    if made is None:
        return None
    require_unchanged(text, made, *names)
    skipped = made.get("skipped") or (made.get("decode") or {}).get("skipped")
    return None if skipped is None else {row for rows in skipped.values() for row in rows}


def take_sources(data: Path, gold: Path, source: str, target: str) -> None:
    """Give the training split of ``data`` the sources of the gold data-bin, symbol by symbol.

    Text cannot hold every symbol: a ``</s>`` or ``<pad>`` within a gold source is lost in the decoded text.

    Args:
        data: the distilled data-bin, with its ``left_out.json``.
        gold: the gold data-bin.
        source: the source language.
        target: the target language.

    Raises:
        UserError: a data-bin cannot be used, or it has other rows.
    """
    pair = (source, target)
    task = open_databin(gold, TRAIN, pair)
    sources, stem = task.dataset(TRAIN).src, f"{TRAIN}.{source}-{target}.{source}"
    names = file_names(gold, TRAIN, *pair, source)
    rows, left_out = read_left_out(data, TRAIN) or (len(sources), np.empty(0, dtype=np.int64))
    if rows != len(sources):
        raise UserError(f"{data}: made from {rows} rows, the data-bin {gold} has {len(sources)}; distil {gold} again")
    if not len(left_out) and isinstance(sources, MMapIndexedDataset):
        for name in names:
            shutil.copy(gold / name, data / f"{stem}{Path(name).suffix}")
    else:
        kept = np.flatnonzero(places(rows, left_out) != MISSING).tolist()
        with open_row_files(data / stem, len(task.source_dictionary)) as files:
            files.add_each(sources[row].numpy() for row in kept)
    write_left_out(data, TRAIN, rows, left_out.tolist(), hashes(data, gold, TRAIN, pair))


def main(step: str, *words: str) -> None:
    """What ``scripts/generate_distilled_corpus.sh`` calls.

    Args:
        step: "keep" or "sources".
        words: "TEXT SOURCE TARGET DATA SUBSET" for the first, "DATA GOLD SOURCE TARGET" for the second.
    """
    logging.getLogger("fairseq").setLevel(logging.WARNING)  # it shows each file that it reads
    if step == "keep":
        print(keep_translated(Path(words[0]), words[1], words[2], Path(words[3]), *words[4:]))
    else:
        take_sources(Path(words[0]), Path(words[1]), words[2], words[3])


if __name__ == "__main__":
    with one_line_errors():
        main(*sys.argv[1:])
