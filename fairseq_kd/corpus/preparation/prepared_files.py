"""The files of prepared text, joined from its blocks: subwords and, if asked for, fairseq's data-bin."""

import glob
import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fairseq_kd.corpus.preparation.cut_blocks import read_cut
from fairseq_kd.corpus.preparation.subword_model import FAIRSEQ_SYMBOLS
from fairseq_kd.data.databins.checksums import NAME, PATTERNS, check_databin, write_checksums
from fairseq_kd.data.databins.row_files import open_row_files
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Block, count_rows
from fairseq_kd.storage.files import empty_folder, file_hash, remove_leftover, whole_file, whole_folder
from fairseq_kd.storage.settings import differences, read_settings

logger = logging.getLogger(__name__)


def write_subwords(name: str, blocks: Sequence[Block], paths: Sequence[Path]) -> dict[str, Any]:
    """Write the subwords of a split, one row a line.

    Args:
        name: of the split, for the log.
        blocks: of the split, all written.
        paths: of the files of source and target.

    Returns:
        The counts "rows", "dropped", "tokens", "longest" and "unknown" (subwords that the model does not have); the
        last three are lists of a number for the source and one for the target. ``</s>`` is not counted.

    Raises:
        UserError: a block is damaged.
    """
    rows, tokens, longest, unknown = 0, [0, 0], [0, 0], [0, 0]
    with ExitStack() as stack:
        handles = [stack.enter_context(whole_file(path, "wb")) for path in paths]
        for block in blocks:
            found = read_cut(block)
            rows += len(found[0].sizes)
            for number, side in enumerate(found):
                handles[number].write(side.text)
                tokens[number] += len(side.symbols) - len(side.sizes)
                longest[number] = max(longest[number], int(side.sizes.max(initial=1)) - 1)
                unknown[number] += side.unknown
    if any(unknown):
        logger.warning(
            "%s: %s subwords of the source and %s of the target are unknown to the model and become <unk>",
            name,
            *unknown,
        )
    dropped = count_rows(blocks) - rows
    return {"rows": rows, "dropped": dropped, "tokens": tokens, "longest": longest, "unknown": unknown}


def check_apart(folder: Path, output: Path) -> None:
    """Raise a UserError where the data-bin ``folder`` would hold the other files of a run, or lie among them."""
    place, other = folder.resolve(), output.resolve()
    taken = [other / name for name in ("spm.model", "dict.txt", "subword", "parts", "prepare.json")]
    if other.is_relative_to(place) or any(place.is_relative_to(path) for path in taken):
        raise UserError(f"--data-bin {folder}: the files of --output {output} lie there; give a folder of its own")


def check_replaceable(folder: Path) -> None:
    """Raise a UserError where ``folder`` is there and is no data-bin that this package wrote."""
    if folder.is_dir():
        names = {path.name for path in folder.iterdir()}
        ours = {name for name in names if any(fnmatch(name, pattern) for pattern in PATTERNS)} | {NAME, "arguments"}
        if names and (NAME not in names or names - ours):
            raise UserError(f"--data-bin {folder}: the folder holds other files; give another, or delete it")
    elif folder.exists():
        raise UserError(f"--data-bin {folder}: it is a file; give a folder")


def write_databin(
    folder: Path, languages: Sequence[str], dictionary: Path, blocks: Mapping[str, Sequence[Block]]
) -> str:
    """Make ``folder`` the data-bin of all splits; it appears whole or not at all, and replaces an older one.

    A link stays, and so do the current folder and a mounted disk: the files go into them.

    Args:
        folder: of the data-bin.
        languages: of source and target.
        dictionary: of both.
        blocks: of each split, all written.

    Returns:
        The SHA-256 of its checksums.

    Raises:
        UserError: a block is damaged, or another run has made the folder meanwhile.
    """
    source, target = languages
    symbols = len(FAIRSEQ_SYMBOLS) + dictionary.read_bytes().count(b"\n")
    check_replaceable(folder)
    if folder.is_dir():
        empty_folder(folder)  # itself it may be a link, or the folder of a shell
    with whole_folder(folder) as new:
        for language in languages:
            shutil.copyfile(dictionary, new / f"dict.{language}.txt")
        for split, some in blocks.items():
            stems = [new / f"{split}.{source}-{target}.{language}" for language in languages]
            with open_row_files(stems[0], symbols) as one, open_row_files(stems[1], symbols) as other:
                for block in some:
                    for files, side in zip((one, other), read_cut(block), strict=True):
                        files.add(side.sizes, side.symbols)
        write_checksums(new)
        own = file_hash(new / NAME)
    with suppress(FileNotFoundError):  # another run is about to replace it
        if file_hash(folder / NAME) == own:
            return own
    raise UserError(f"--data-bin {folder}: another run has written it meanwhile; give a folder of its own")


def finished(output: Path, report: Path, settings: dict[str, Any], data_bin: Path | None) -> dict[str, Any] | None:
    """What a finished run with these settings reported; None where there is none, or its files have changed.

    Raises:
        UserError: the report is damaged.
    """
    found = read_settings(report, "prepare")
    if found is None or "made_from" not in found or differences(found["made_from"], settings):
        return None
    if any(not (output / name).is_file() or file_hash(output / name) != sha for name, sha in found["sha256"].items()):
        return None
    if data_bin is not None:
        try:
            if not (data_bin / NAME).is_file():
                return None
            # Reports of earlier versions lack the hash.
            if found.get("data_bin") not in (None, file_hash(data_bin / NAME)):
                return None
            check_databin(data_bin, [path.name for path in data_bin.iterdir()])
        except UserError:
            return None
    return found


def sweep(output: Path, data_bin: Path | None) -> None:
    """Delete the temporary files that killed runs left in ``output``, which no other run is at work in.

    Another run may be at work in ``data_bin``; its folder stays.
    """
    for pattern in ("spm.model.*.tmp", "dict.txt.*.tmp", "prepare.json.*.tmp", "subword/*.tmp", "parts/*.tmp"):
        for path in output.glob(pattern):
            path.unlink(missing_ok=True)
    for folder in output.glob("data-bin.tmp"):  # of earlier versions
        shutil.rmtree(folder, ignore_errors=True)
    if data_bin is not None:
        place = data_bin.resolve()  # behind a link, as whole_folder
        for folder in place.parent.glob(f"{glob.escape(place.name)}.*.tmp"):
            remove_leftover(folder)
