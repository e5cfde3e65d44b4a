"""The gold rows that a distilled data-bin lacks: ``left_out.json`` in its folder."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairseq_kd.data.databins.files import file_names
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash, write_json
from fairseq_kd.storage.shapes import keys, list_of, text, whole
from fairseq_kd.storage.structured import Unreadable, read_json

NAME = "left_out.json"
SHAPE = keys({"split": text, "rows": whole(), "left_out": list_of(whole())}, {"sources": list_of(text)})
MISSING = -1
"""The place of a row that was left out."""


def write_left_out(data: Path, split: str, rows: int, left_out: list[int], sources: Sequence[str] = ()) -> None:
    """Record which rows of a gold split a data-bin lacks.

    Args:
        data: the distilled data-bin.
        split: the split.
        rows: of the gold split.
        left_out: their numbers in the gold split, from 0, ascending.
        sources: what :func:`hashes` gives where the sources are known to be the gold ones.
    """
    content = {"split": split, "rows": rows, "left_out": left_out}
    write_json(data / NAME, content | ({"sources": list(sources)} if sources else {}))


def hashes(data: Path, gold: Path, split: str, pair: tuple[str, str]) -> list[str]:
    """The hashes of the files of both data-bins' sources, the gold data-bin's first."""
    return _source_hashes(gold, split, pair) + _source_hashes(data, split, pair)


def same_sources(data: Path, gold: Path, split: str, pair: tuple[str, str]) -> bool:
    """Whether the hashes prove that the sources of ``data`` are those of ``gold`` without the rows left out."""
    own, wanted = _source_hashes(data, split, pair), _source_hashes(gold, split, pair)
    recorded = _read(data) or {}
    return [*wanted, *own] == recorded.get("sources") or (own == wanted and not recorded.get("left_out"))


def _source_hashes(data: Path, split: str, pair: tuple[str, str]) -> list[str]:
    return [file_hash(data / name) for name in file_names(data, split, *pair, pair[0])]


def read_left_out(data: Path, split: str) -> tuple[int, np.ndarray] | None:
    """The number of rows of the gold split, and the rows that ``data`` lacks, ascending, shape (left out,).

    None where ``data`` has no such file or it speaks of another split: the data-bin then has every row.

    Raises:
        UserError: the file is damaged.
    """
    found = _read(data)
    if found is None or found["split"] != split:
        return None
    return found["rows"], np.array(found["left_out"], dtype=np.int64)


def _read(data: Path) -> dict[str, Any] | None:
    path = data / NAME
    if not path.is_file():
        return None
    try:
        found = read_json(path, SHAPE)
        rows = found["left_out"]
        if not all(one < other for one, other in itertools.pairwise(rows)) or (rows and rows[-1] >= found["rows"]):
            raise Unreadable("left_out: the numbers of the rows do not ascend")
    except (OSError, Unreadable) as error:
        raise UserError(f"{path}: damaged ({error}); delete the folder {data} and make it again") from None
    return found


def places(rows: int, left_out: np.ndarray) -> np.ndarray:
    """For each gold row its row in the data-bin, or :data:`MISSING`; shape (rows,)."""
    kept = np.ones(rows, dtype=bool)
    kept[left_out] = False
    return np.where(kept, np.cumsum(kept) - 1, MISSING)
