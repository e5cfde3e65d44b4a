"""Checksums of a data-bin's files: ``checksums.json`` in its folder, which fairseq passes over.

The scripts of this package write it. A data-bin that fairseq-preprocess made alone has none, and is not checked.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from fairseq_kd.errors import UserError
from fairseq_kd.storage.checksums import checksums_of, first_changed
from fairseq_kd.storage.files import one_line_errors, write_json
from fairseq_kd.storage.shapes import keys, map_of, text
from fairseq_kd.storage.structured import Unreadable, read_json

NAME = "checksums.json"
PATTERNS = ("*.idx", "*.bin", "dict.*.txt")
SHAPE = keys({"files": map_of(text)})


def write_checksums(data: Path) -> None:
    """Record the checksums of all splits and dictionaries in the folder ``data``."""
    names = sorted({path.name for pattern in PATTERNS for path in data.glob(pattern)})
    write_json(data / NAME, {"files": checksums_of(data, names)})


def check_databin(data: Path, names: Iterable[str]) -> None:
    """Compare files of a data-bin with their checksums.

    Args:
        data: the folder.
        names: of the files; those without a checksum are passed over.

    Raises:
        UserError: a file has changed or is missing, or the list of checksums is damaged.
    """
    path = data / NAME
    if not path.is_file():
        return
    try:
        recorded = read_json(path, SHAPE)["files"]
    except (OSError, Unreadable) as error:
        raise UserError(f"{path}: damaged ({error}); make the data-bin again, or delete this file") from None
    changed = first_changed(data, recorded, names)
    if changed is not None:
        raise UserError(
            f"{data / changed}: damaged or missing (its checksum differs from {NAME}); make the data-bin again, or "
            f"delete {NAME} if you changed the file on purpose"
        )


if __name__ == "__main__":
    with one_line_errors():
        write_checksums(Path(sys.argv[1]))
