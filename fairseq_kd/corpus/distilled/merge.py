"""Join and verify the blocks that the shards of a decode wrote."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from fairseq_kd.corpus.distilled.decoded_blocks import decode_folder, output_paths, read_block
from fairseq_kd.corpus.signatures import read_decode
from fairseq_kd.decoding.interface import NOT_TRANSLATED
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import SIGNATURE, Block
from fairseq_kd.storage.files import whole_file
from fairseq_kd.storage.provenance import versions

logger = logging.getLogger(__name__)

UNKNOWN, UNKNOWN_TEXT = "<unk>", "⁇"
"""fairseq's unknown subword, and what sentencepiece makes of it in text."""


def merge(directory: Path) -> dict[str, Any]:
    """Write the sources and their best translations in corpus order, line for line, and last ``signature.json``.

    Where the decode kept several translations a row, ``SUBSET.nbest.tsv`` gets all of them. A row that was not
    translated, because its source is empty or longer than the model takes, has an empty line; the signature lists it.

    Args:
        directory: the output folder of a decode.

    Returns:
        The signature: the decode's settings, "versions", and "lines" and "sha256" of each file by name. "skipped" are
        the rows that were not translated. "unknown" has the number of ``<unk>`` in the best translations ("tokens"),
        and of rows with an ``<unk>`` ("rows").

    Raises:
        UserError: ``directory`` is not a decode's, or a block is missing or damaged; then nothing is written.
    """
    settings = read_decode(directory / "parts" / SIGNATURE) or read_decode(directory / SIGNATURE)
    if settings is None:
        raise UserError(f"{directory}: it has no parts/{SIGNATURE}; give the --output of fairseq-kd decode")
    folder = decode_folder(directory, settings)
    paths = output_paths(directory, settings)
    files = list(paths.values())
    merged = folder.finished(files)
    if merged:
        logger.info("%s: already merged", directory)
        return merged
    folder.refuse_gaps()
    folder.sweep(files)
    skipped: dict[str, list[int]] = {"empty_source": [], "too_long_source": []}
    unknown = {"rows": 0, "tokens": 0}
    with ExitStack() as stack:
        outputs = {role: stack.enter_context(whole_file(path)) for role, path in paths.items()}
        for block in folder.blocks:
            _copy(block, settings["options"]["nbest"], outputs, skipped, unknown)
    lines = {path.name: settings["rows"] for role, path in paths.items() if role != "nbest"}
    merged = folder.finish(files, {"versions": versions(), "lines": lines, "skipped": skipped, "unknown": unknown})
    _log(directory, merged, files)
    return merged


def _copy(
    block: Block, nbest: int, outputs: dict[str, IO[str]], skipped: dict[str, list[int]], unknown: dict[str, int]
) -> None:
    sources, fields = read_block(block, nbest)
    untouched = [f"{NOT_TRANSLATED.score:.6f}", NOT_TRANSLATED.tokens]
    for row, source, (_, _, *best) in zip(block.rows, sources, fields[::nbest], strict=True):
        outputs["source"].write(source + "\n")
        outputs["target"].write(best[1] + "\n")
        tokens = sum(token == UNKNOWN or UNKNOWN_TEXT in token for token in best[1].split(" "))
        unknown["tokens"] += tokens
        unknown["rows"] += tokens > 0
        if best == untouched:
            skipped["too_long_source" if _visible(source) else "empty_source"].append(row)
    if "nbest" in outputs:
        outputs["nbest"].writelines("\t".join(line) + "\n" for line in fields)


def _visible(text: str) -> bool:
    """Whether a text has a character that can be seen: of spaces, U+200B or U+FEFF alone, tokenizers leave nothing."""
    return any(character.isprintable() and not character.isspace() for character in text)


def _log(directory: Path, merged: dict[str, Any], paths: list[Path]) -> None:
    empty, too_long = (len(merged["skipped"][name]) for name in ("empty_source", "too_long_source"))
    if empty or too_long:
        logger.warning(
            "%s: %d empty and %d too long sources were not translated; their lines are empty (%s lists the rows)",
            directory, empty, too_long, SIGNATURE,
        )  # fmt: skip
    unknown = merged["unknown"]
    if unknown["tokens"]:
        # A sampler has no --no-unk.
        advice = "a small --top-k draws fewer" if merged.get("sampling") else "decode with --no-unk forbids it"
        logger.warning(
            "%s: the translations of %d rows hold %d %s, which a student would learn; %s",
            directory, unknown["rows"], unknown["tokens"], UNKNOWN, advice,
        )  # fmt: skip
    names = ", ".join(path.name for path in paths)
    logger.info("%s: wrote %s (%d rows) and %s", directory, names, merged["rows"], SIGNATURE)
