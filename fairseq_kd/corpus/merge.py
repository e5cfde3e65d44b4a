"""`fairseq-kd merge`: join and verify what the shards of a decode wrote."""

import argparse
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from fairseq_kd.corpus.parts import SIGNATURE, Block, blocks, is_merged, output_paths, read_signature
from fairseq_kd.decoding.interface import NOT_TRANSLATED
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.provenance import versions
from fairseq_kd.storage.shards import missing_blocks

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fairseq-kd merge`."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="what was given to fairseq-kd decode as --output")


def run(options: argparse.Namespace) -> None:
    """Merge the folder."""
    merge(options.directory)


def merge(directory: Path) -> None:
    """Write the sources and their best translations in corpus order, line for line, and last ``signature.json``.

    Where the decode kept several translations a row, all of them go to ``SUBSET.nbest.tsv``. A row that was not
    translated (its source is empty or longer than the model takes) has an empty line and stands in the signature.

    Raises:
        UserError: ``directory`` is no decode's, or a block is missing or damaged; nothing is written then.
    """
    settings = read_signature(directory / "parts" / SIGNATURE) or read_signature(directory / SIGNATURE)
    if settings is None:
        raise UserError(f"{directory}: no parts/{SIGNATURE} in it; give the --output of fairseq-kd decode")
    if is_merged(directory, settings):
        logger.info("%s: already merged", directory)
        return
    _refuse_gaps(directory, settings)
    _remove_leftovers(directory, settings)
    paths = output_paths(directory, settings)
    skipped: dict[str, list[int]] = {"empty_source": [], "too_long_source": []}
    with ExitStack() as stack:
        outputs = {role: stack.enter_context(whole_file(path)) for role, path in paths.items()}
        for block in blocks(directory, settings):
            _copy(block, settings["options"]["nbest"], outputs, skipped)
    lines = {path.name: settings["rows"] for role, path in paths.items() if role != "nbest"}
    hashes = {path.name: file_hash(path) for path in paths.values()}
    write_json(
        directory / SIGNATURE,
        {**settings, "versions": versions(), "lines": lines, "skipped": skipped, "sha256": hashes},
    )
    _tell(directory, settings, skipped)


def _copy(block: Block, nbest: int, outputs: dict[str, IO[str]], skipped: dict[str, list[int]]) -> None:
    sources, fields = block.read(nbest)
    untouched = [f"{NOT_TRANSLATED.score:.6f}", NOT_TRANSLATED.tokens]
    for row, source, (_, _, *best) in zip(block.rows, sources, fields[::nbest], strict=True):
        outputs["source"].write(source + "\n")
        outputs["target"].write(best[1] + "\n")
        if best == untouched:
            skipped["too_long_source" if source else "empty_source"].append(row)
    if "nbest" in outputs:
        outputs["nbest"].writelines("\t".join(line) + "\n" for line in fields)


def _refuse_gaps(directory: Path, settings: dict[str, Any]) -> None:
    expected = list(blocks(directory, settings))
    missing = [block.number for block in expected if not block.done]
    if missing:
        raise missing_blocks(directory, missing, len(expected))


def _remove_leftovers(directory: Path, settings: dict[str, Any]) -> None:
    """Delete what killed runs left half-written. All blocks are there, so no run is at work any more."""
    leftovers = list((directory / "parts").glob("*.tmp"))
    for name in (SIGNATURE, *(path.name for path in output_paths(directory, settings).values())):
        leftovers += directory.glob(f"{name}.*.tmp")
    for path in leftovers:
        path.unlink(missing_ok=True)


def _tell(directory: Path, settings: dict[str, Any], skipped: dict[str, list[int]]) -> None:
    if any(skipped.values()):
        logger.warning(
            "%s: %d empty and %d too long sources were not translated; their lines are empty (rows in %s)",
            directory,
            len(skipped["empty_source"]),
            len(skipped["too_long_source"]),
            SIGNATURE,
        )
    names = ", ".join(path.name for path in output_paths(directory, settings).values())
    logger.info("%s: wrote %s (%d rows) and %s", directory, names, settings["rows"], SIGNATURE)
