"""Several data-bins that share a training split, fairseq's ``a:b``, and the folders that go with each of them.

fairseq-train trains on another one in each epoch, and takes all splits but train from the first. Neither torch nor
fairseq is imported.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from fairseq_kd.data.databins.files import TRAIN, folders
from fairseq_kd.errors import UserError


def beside(data: Sequence[str | Path], other: str | Path, option: str) -> list[Path]:
    """The folders that go with data-bins, one for each in their order.

    Args:
        data: the data-bins.
        other: the folders, ``x:y``; for one data-bin a path, whatever it holds.
        option: that names them, for the error.

    Raises:
        UserError: there are not as many folders as data-bins.
    """
    if len(data) == 1:
        return [Path(other)]
    found = [Path(path) for path in str(other).split(os.pathsep) if path]
    if len(found) != len(data):
        raise UserError(
            f"{option} {other}: {len(found)} folders for {len(data)} data-bins; give one for each, in their order, "
            "joined by ':'"
        )
    return found


def each_with(data: str | Path, output: Path, split: str) -> list[tuple[str, Path]]:
    """The data-bins of ``a:b`` that have rows of a split, each with its folder of ``--output``.

    Only ``train`` is shared by several. Of other splits the first data-bin counts, as in fairseq-train.

    Raises:
        UserError: as :func:`beside`.
    """
    all_of_them = folders(data)
    if split != TRAIN or len(all_of_them) == 1:
        return [(str(data), output)]
    return [(str(one), path) for one, path in zip(all_of_them, beside(all_of_them, output, "--output"), strict=True)]


def require_folders(data: str) -> None:
    """Refuse data-bins that fairseq-train does not find.

    Args:
        data: one, or several as ``a:b``. fairseq cuts it at each colon.

    Raises:
        UserError: one is no folder, or the name of the only one holds a colon.
    """
    missing = next((path for path in data.split(os.pathsep) if path and not os.path.isdir(path)), None)
    if missing is not None and os.path.isdir(data):
        raise UserError(
            f"data-bin {data}: fairseq-train cannot read a folder whose name holds ':', its sign between data-bins; "
            "give the folder another name, or a symbolic link"
        )
    if missing is not None:
        raise UserError(f"data-bin {missing}: no such folder")
