"""A teacher's distributions on disk: for each target token its likeliest symbols and the mass of all the rest.

``DIR/SUBSET/manifest.json`` holds the settings and ``DIR/SUBSET/NNNNN.npy`` a block of rows: a structured array with
one record for each target token (``</s>`` included), row after row, of

- ``ids``, shape (k,): the k likeliest symbols, likeliest first; uint16, or int32 where a vocabulary asks for it;
- ``log_probs``, shape (k + 1,), float16: their log-probabilities, and last the log of the mass of all other symbols.

That is 4k + 2 bytes a token, 6k + 2 with int32.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.shards import differences, missing_blocks, read_settings, spans

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
ID_TYPES = {"uint16": "<u2", "int32": "<i4"}
ALIKE = ("models", "top_k", "temperature", "vocabulary", "max_positions")
"""What all splits in one folder share: a training's criterion has one temperature and one teacher."""


@dataclass(frozen=True)
class Block:
    """Rows written together, and the file that holds their records."""

    number: int
    rows: range
    path: Path

    @property
    def done(self) -> bool:
        """Whether the file is there: it appears whole."""
        return self.path.exists()

    def write(self, records: np.ndarray) -> None:
        """Write the records, shape (target tokens of the rows,)."""
        with whole_file(self.path, "wb") as handle:
            np.save(handle, records)


def blocks(directory: Path, settings: dict[str, Any]) -> Iterator[Block]:
    """The blocks of the split that ``settings`` describe, in the order of their rows."""
    for number, rows in spans(settings["rows"], settings["block_rows"]):
        yield Block(number, rows, directory / settings["subset"] / f"{number:05d}.npy")


def id_type(vocabulary: int) -> str:
    """The type that numbers so many symbols."""
    return "uint16" if vocabulary <= 2**16 else "int32"


def record_type(settings: dict[str, Any]) -> np.dtype:
    """What is written for one target token."""
    k = settings["top_k"]
    return np.dtype([("ids", ID_TYPES[settings["ids"]], (k,)), ("log_probs", "<f2", (k + 1,))])


def offsets(target_sizes: np.ndarray) -> np.ndarray:
    """Where each row's records begin, counted from the first row's, and where the last one's end: (rows + 1,)."""
    return np.concatenate([[0], np.cumsum(target_sizes, dtype=np.int64)])


def encode(ids: Tensor, log_probs: Tensor, settings: dict[str, Any]) -> np.ndarray:
    """Records of shape (tokens,) from ids (tokens, k) and log-probabilities (tokens, k + 1), on any device."""
    records = np.empty(len(ids), record_type(settings))
    records["ids"] = ids.cpu().numpy()
    # −∞, a tail without mass, would make 0 · ∞ in a loss. exp(−65504) is 0 in any float all the same.
    lowest = torch.finfo(torch.float16).min
    records["log_probs"] = log_probs.clamp(min=lowest).half().cpu().numpy()
    return records


def normalised(stored: Tensor) -> Tensor:
    """Stored log-probabilities, shape (tokens, k + 1), as float32 ones whose probabilities sum to 1 again.

    Rounding to float16 moves each by at most 2⁻¹¹ of its size.
    """
    return torch.log_softmax(stored.float(), dim=-1)


def untaught(sizes: np.ndarray, max_positions: Sequence[int]) -> np.ndarray:
    """Mask, shape (rows,), of the rows that are longer than the teacher's positions.

    Args:
        sizes: lengths of source and target, ``</s>`` counted, shape (rows, 2).
        max_positions: the teacher's for source and target.
    """
    return np.any(sizes > np.asarray(max_positions), axis=1)


def warn_of_untaught(rows: np.ndarray, settings: dict[str, Any]) -> None:
    """Tell how many rows the mask ``rows`` holds, if any."""
    if rows.any():
        logger.warning(
            "%s: %d rows are longer than the teacher's positions (%s) and have no soft targets: training skips them",
            settings["subset"],
            rows.sum(),
            ", ".join(map(str, settings["max_positions"])),
        )


def data_hashes(data: str | Path, subset: str, source: str, target: str) -> dict[str, str]:
    """Hashes of the dictionaries and of the split's files in a data-bin, by name.

    Raises:
        UserError: one is not there.
    """
    stems = [f"{subset}.{source}-{target}.{side}" for side in (source, target)]
    names = [f"dict.{side}.txt" for side in (source, target)]
    names += [f"{stem}.{ending}" for stem in stems for ending in ("bin", "idx")]
    try:
        return {name: file_hash(Path(data, name)) for name in names}
    except OSError as error:
        raise UserError(
            f"data-bin {data}: {error.filename}: {error.strerror}; soft targets need a split's own .bin and .idx files"
        ) from None


def read_manifest(directory: Path, subset: str) -> dict[str, Any] | None:
    """The settings of a split's soft targets; None where ``directory`` has none of this split.

    Raises:
        UserError: the file is damaged.
    """
    return read_settings(directory / subset / MANIFEST, "cache")


def splits(directory: Path) -> list[str]:
    """The splits that ``directory`` holds, finished or not."""
    return sorted(path.parent.name for path in directory.glob(f"*/{MANIFEST}"))


def claim(directory: Path, settings: dict[str, Any]) -> None:
    """Make ``directory`` the place of soft targets with ``settings``, unless it is that already.

    Raises:
        UserError: it holds others, or other splits' soft targets of another kind, or cannot be written.
    """
    folder = directory / settings["subset"]
    found = read_manifest(directory, settings["subset"])
    details = "" if found is None else differences(found, settings)
    if details:
        raise UserError(
            f"{folder} holds soft targets with other settings: {details}; give another --output or delete it"
        )
    refuse_mixture(directory, settings)
    try:
        if found is None:
            write_json(folder / MANIFEST, settings)
    except OSError as error:
        raise UserError(f"--output {directory}: cannot be written: {error.strerror}") from None


def refuse_mixture(directory: Path, settings: dict[str, Any]) -> None:
    """Raise a UserError where another split in ``directory`` has another teacher, top k or temperature."""
    own = {name: settings[name] for name in ALIKE}
    for split in splits(directory):
        details = differences(read_manifest(directory, split) or {}, own)
        if details:
            raise UserError(
                f"{directory / split} holds soft targets of another kind than {settings['subset']}'s: {details}; "
                "keep them in another folder"
            )


def refuse_gaps(directory: Path, settings: dict[str, Any]) -> None:
    """Raise a UserError that names the blocks not written yet."""
    expected = list(blocks(directory, settings))
    missing = [block.number for block in expected if not block.done]
    if missing:
        raise missing_blocks(directory / settings["subset"], missing, len(expected))


@lru_cache(maxsize=256)
def _records(path: Path) -> np.ndarray:
    """A block's records, mapped into memory. A map holds a file open, and a process may have few of them open."""
    return np.load(path, mmap_mode="r")


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
        refuse_gaps(directory, settings)
        self.blocks = list(blocks(directory, settings))
        self.block_rows = settings["block_rows"]
        self.offsets = offsets(target_sizes)
        for block in self.blocks:
            self._check(block, record_type(settings))

    def _check(self, block: Block, expected: np.dtype) -> None:
        tokens = self.offsets[block.rows.stop] - self.offsets[block.rows.start]
        try:
            found = _records(block.path)
        except (OSError, ValueError, EOFError) as error:
            details = str(error)
        else:
            details = "" if found.shape == (tokens,) and found.dtype == expected else f"not {tokens} of its records"
        if details:
            raise UserError(f"{block.path}: damaged ({details}); delete it and run the cache again")

    def of(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The soft targets of ``rows``, in their order.

        Returns:
            "ids", int64, shape (tokens, k), and "log_probs", shape (tokens, k + 1), to be given to :func:`normalised`.
            The latter stay in float16, as stored: fairseq turns a batch's float32 into bfloat16 under --bf16, whose 8
            bits are too few, but leaves float16 alone; and half as much goes to the GPU.
        """
        records = np.concatenate([self._row(row) for row in rows])
        ids, stored = records["ids"].astype(np.int64), np.ascontiguousarray(records["log_probs"])
        return {"ids": torch.from_numpy(ids), "log_probs": torch.from_numpy(stored)}

    def _row(self, row: int) -> np.ndarray:
        block = self.blocks[row // self.block_rows]
        first, last = self.offsets[row : row + 2] - self.offsets[block.rows.start]
        return _records(block.path)[first:last]
