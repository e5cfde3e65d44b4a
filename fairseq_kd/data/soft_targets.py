"""A teacher's distributions on disk: for each target token its likeliest symbols and the mass of all others.

``DIR/SUBSET/manifest.json`` holds the settings and ``DIR/SUBSET/NNNNN.npy`` a block of rows: a structured array with
one record for each target token (``</s>`` included), row after row, of

- ``ids``, shape (k,): the k likeliest symbols, likeliest first; uint16, or int32 for a vocabulary above 65,536 symbols;
- ``log_probs``, shape (k + 1,), float16: their log-probabilities, and last the log of the mass of all other symbols.

That is 4k + 2 bytes a token, 6k + 2 with int32.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairseq_kd.data.databins.files import file_names, only_folder
from fairseq_kd.data.record_files import Records, open_records, unreadable
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Block, BlockFolder
from fairseq_kd.storage.checksums import Damaged
from fairseq_kd.storage.files import file_hash
from fairseq_kd.storage.settings import differences, read_settings
from fairseq_kd.storage.shapes import exactly, file_name, keys, list_of, map_of, number, one_of, text, whole

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
ID_TYPES = {"uint16": "<u2", "int32": "<i4"}
_TOKENS = keys({"languages": list_of(text, 2)})
SHAPE = keys(
    {
        "models": list_of(text),
        "subset": file_name,
        "rows": whole(1),
        "block_rows": whole(1),
        "top_k": whole(1, 2**20),
        "temperature": number,
        "vocabulary": whole(1, 2**31),
        "max_positions": list_of(whole(1), 2),
        "ids": one_of(*map(exactly, ID_TYPES)),
    },
    {"data": map_of(text), "source": text, "target": text, "tokens": whole(), "teacher_tokens": list_of(_TOKENS)},
)
"""Of a manifest."""
ALIKE = ("models", "top_k", "temperature", "vocabulary", "max_positions", "teacher_tokens")
"""What all splits in one folder share: a training's criterion has one temperature, one teacher and one direction."""


def cache_folder(directory: Path, settings: dict[str, Any]) -> BlockFolder:
    """The blocks of the split that ``settings`` describe, one file each, below ``directory``."""
    folder = directory / settings["subset"]
    return BlockFolder(folder, "cache", settings, folder, (".npy",), settings_name=MANIFEST)


def id_type(vocabulary: int) -> str:
    """The narrowest type, a key of ``ID_TYPES``, that numbers the symbols of a ``vocabulary`` of this size."""
    return "uint16" if vocabulary <= 2**16 else "int32"


def record_type(settings: dict[str, Any]) -> np.dtype:
    """The numpy type of one target token's record."""
    k = settings["top_k"]
    return np.dtype([("ids", ID_TYPES[settings["ids"]], (k,)), ("log_probs", "<f2", (k + 1,))])


def offsets(target_sizes: np.ndarray) -> np.ndarray:
    """Where each row's records begin, counted from the first row, and where the last row's end; shape (rows + 1,)."""
    return np.concatenate([[0], np.cumsum(target_sizes, dtype=np.int64)])


def encode(ids: Tensor, log_probs: Tensor, settings: dict[str, Any]) -> np.ndarray:
    """Records of shape (tokens,) from ids (tokens, k) and log-probabilities (tokens, k + 1), on any device."""
    records = np.empty(len(ids), record_type(settings))
    records["ids"] = ids.cpu().numpy()
    # A tail without mass has −∞, which would make 0 · ∞ in a loss; exp(−65504) is 0 in any float, too.
    lowest = torch.finfo(torch.float16).min
    records["log_probs"] = log_probs.clamp(min=lowest).half().cpu().numpy()
    return records


def normalised(stored: Tensor) -> Tensor:
    """Stored log-probabilities, shape (tokens, k + 1), as float32 whose probabilities sum to 1 again.

    Rounding to float16 has moved each by at most 2⁻¹¹ of its size, or by 2⁻²⁵ where that is more.
    """
    return torch.log_softmax(stored.float(), dim=-1)


def untaught(sizes: np.ndarray, max_positions: Sequence[int]) -> np.ndarray:
    """Mask, shape (rows,), of the rows that are longer than the teacher's positions: it cannot teach them.

    Args:
        sizes: lengths of source and target, ``</s>`` counted, shape (rows, 2).
        max_positions: of the teacher, for source and target.
    """
    return np.any(sizes > np.asarray(max_positions), axis=1)


def warn_of_untaught(rows: np.ndarray, settings: dict[str, Any]) -> None:
    """Log how many rows the mask ``rows`` holds, if any."""
    if rows.any():
        logger.warning(
            "%s: %d rows are longer than the teacher's positions (%s) and have no soft targets: training and "
            "validation skip them",
            settings["subset"],
            rows.sum(),
            ", ".join(map(str, settings["max_positions"])),
        )


def data_hashes(data: str | Path, subset: str, source: str, target: str) -> dict[str, str]:
    """Hashes of the dictionaries and of the split's files in a data-bin, by name.

    Raises:
        UserError: a file is missing.
    """
    folder = only_folder(data, subset)
    names = [f"dict.{side}.txt" for side in (source, target)]
    names += file_names(folder, subset, source, target, source, target)
    try:
        return {name: file_hash(folder / name) for name in names}
    except OSError as error:
        raise UserError(
            f"data-bin {data}: {error.filename}: {error.strerror}; soft targets need a split's own .bin and .idx files"
        ) from None


def read_manifest(directory: Path, subset: str) -> dict[str, Any] | None:
    """The settings of a split's soft targets; None where ``directory`` has none of this split.

    Raises:
        UserError: the file is damaged, or of another split.
    """
    found = read_settings(directory / subset / MANIFEST, "cache", SHAPE)
    if found is not None and found["subset"] != subset:
        told = f"its soft targets are of the subset {found['subset'][:60]!r}, its folder is named {subset!r}"
        raise UserError(f"{directory / subset / MANIFEST}: {told}; give the folder the subset's name again")
    return found


def splits(directory: Path) -> list[str]:
    """The splits whose soft targets ``directory`` holds, finished or not."""
    return sorted(path.parent.name for path in directory.glob(f"*/{MANIFEST}"))


def claim(directory: Path, settings: dict[str, Any]) -> BlockFolder:
    """Make ``directory`` the place of soft targets with ``settings``, unless it is that already.

    Returns:
        The blocks of the split.

    Raises:
        UserError: it holds soft targets of this split with other settings, or of other splits with another teacher,
            direction, top-k or temperature; or it cannot be written.
    """
    folder = cache_folder(directory, settings)
    folder.check()
    refuse_mixture(directory, settings)
    folder.claim()
    return folder


def refuse_mixture(directory: Path, settings: dict[str, Any]) -> None:
    """Raise a UserError where another split in ``directory`` has another teacher, direction, top-k or temperature."""
    own = {name: settings.get(name, []) for name in ALIKE}
    for split in splits(directory):
        details = differences(read_manifest(directory, split) or {}, own)
        if details:
            raise UserError(
                f"{directory / split} holds soft targets of another kind than {settings['subset']}'s: {details}; "
                "keep them in another folder"
            )


def refuse_unlike(folders: str, manifests: Sequence[dict[str, Any]]) -> None:
    """Raise a UserError where the folders of several data-bins differ in teacher, direction, top-k or temperature."""
    for other in manifests[1:]:
        details = differences(manifests[0], {name: other.get(name, []) for name in ALIKE})
        if details:
            raise UserError(f"--teacher-cache {folders}: these soft targets are of several kinds: {details}")


class SoftTargets:
    """The finished soft targets of one split, read row by row.

    It holds no open file, so that it can be sent to a data loader's workers.

    Args:
        directory: the folder that holds the splits.
        settings: its manifest.
        target_sizes: the target tokens of each row, ``</s>`` counted.

    Raises:
        UserError: a block is missing or damaged.
    """

    def __init__(self, directory: Path, settings: dict[str, Any], target_sizes: np.ndarray):
        folder = cache_folder(directory, settings)
        folder.refuse_gaps()
        self.blocks = folder.blocks
        self.block_rows = settings["block_rows"]
        self.offsets = offsets(target_sizes)
        self.type = record_type(settings)
        self.vocabulary = settings["vocabulary"]
        for block in self.blocks:
            self._open(block)

    def _open(self, block: Block) -> Records:
        (path,) = block.paths
        tokens = int(self.offsets[block.rows.stop] - self.offsets[block.rows.start])
        try:
            return open_records(path, tokens, len(block.rows), self.type)
        except (OSError, Damaged) as error:
            raise unreadable(path, error) from None

    def of(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The soft targets of ``rows``, one or more numbers of rows of the split, from 0, in their order.

        Returns:
            "ids", int64, shape (tokens, k), and "log_probs", float16, shape (tokens, k + 1), for :func:`normalised`.
            They stay in float16, as stored: under --bf16, fairseq turns a batch's float32 into bfloat16, whose 8 bits
            are too few, but leaves float16 alone. Half as many bytes go to the GPU, too.

        Raises:
            UserError: the records of a row are not those that were written.
        """
        records = np.concatenate([self._row(row) for row in rows])
        ids, stored = records["ids"].astype(np.int64), np.ascontiguousarray(records["log_probs"])
        return {"ids": torch.from_numpy(ids), "log_probs": torch.from_numpy(stored)}

    def _row(self, row: int) -> np.ndarray:
        block = self.blocks[row // self.block_rows]
        first, last = (self.offsets[row : row + 2] - self.offsets[block.rows.start]).tolist()
        file = self._open(block)
        try:
            found = file.row(row - block.rows.start, first, last)
        except Damaged as error:
            raise unreadable(block.paths[0], error) from None
        # Without a checksum, a damaged symbol would end a training with a traceback.
        if file.sums is None and not 0 <= found["ids"].min(initial=0) <= found["ids"].max(initial=0) < self.vocabulary:
            raise unreadable(block.paths[0], f"row {row} names a symbol that the dictionary lacks")
        return found
