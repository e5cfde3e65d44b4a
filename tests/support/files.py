"""Folders, compared by their bytes."""

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """Each file under a folder, by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
