"""The folder of a converted model: ``signature.json`` beside CTranslate2's files says what they are and should hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.storage.checksums import checksums_of, first_changed
from fairseq_kd.storage.files import write_json
from fairseq_kd.storage.provenance import versions
from fairseq_kd.storage.shapes import Shape, keys, map_of, text, whole
from fairseq_kd.storage.structured import Unreadable, read_json

SIGNATURE = "signature.json"
FILES = keys({}, {"files": map_of(text)})
"""Of the signature of any converted model."""
MADE = keys(
    {
        "model": text,
        "dictionaries": map_of(text),
        "source": text,
        "target": text,
        "precision": text,
        "parameters": whole(),
        "source_positions": whole(),
        "target_positions": whole(),
    },
    {"files": map_of(text)},
)
"""Of the signature of a converted checkpoint."""


def sign(folder: Path, made_from: Mapping[str, Any]) -> None:
    """Write ``signature.json``: what a model was made from, versions, and the checksums of the folder's files."""
    names = sorted(path.name for path in folder.iterdir())
    write_json(folder / SIGNATURE, {**made_from, "versions": versions(), "files": checksums_of(folder, names)})


def read_made(folder: Path, shape: Shape = MADE) -> dict[str, Any]:
    """What :func:`fairseq_kd.decoding.ctranslate2.conversion.write_model` recorded in ``folder``.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return read_json(folder / SIGNATURE, shape)
    except (OSError, Unreadable) as error:
        raise UserError(f"{folder / SIGNATURE}: cannot be read ({error}); delete its folder") from None


def check_model(folder: Path) -> None:
    """Compare a converted model's files with its signature. A folder of another maker has none and passes.

    Raises:
        UserError: a file is missing or has changed, or the signature is damaged.
    """
    if not (folder / SIGNATURE).is_file():
        return
    changed = first_changed(folder, read_made(folder, FILES).get("files", {}))
    if changed is not None:
        raise UserError(
            f"{folder / changed}: damaged or missing (its checksum differs from {SIGNATURE}); delete its folder, and "
            "convert the model again"
        )
