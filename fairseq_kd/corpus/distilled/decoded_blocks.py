"""What the blocks of a decode hold, and where: ``parts/SUBSET-NNNNN.src`` and ``.tsv`` below the decode's output.

``parts/signature.json`` keeps the settings. One call of the engine decodes one block.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fairseq_kd.decoding.interface import Hypothesis, Progress
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Block, BlockFolder, Shard, count_rows
from fairseq_kd.storage.checksums import read_sealed
from fairseq_kd.storage.files import write_sealed

logger = logging.getLogger(__name__)


Decoded = tuple[Block, Sequence[str], Sequence[Sequence[Hypothesis]]]
"""A block, its sources and the translations of each."""


def decode_folder(output: Path, settings: dict[str, Any]) -> BlockFolder:
    """The blocks of a decode into ``output``: one file with the sources, then one with the translations.

    Raises:
        UserError: the split or a language of ``settings``, which may come from a file, would lead to another folder, or
            both languages have one name.
    """
    for role in ("subset", "source", "target"):
        name = str(settings[role])
        if Path(name).name != name or name == "..":
            raise UserError(f"{output}: its signature has {name[:60]!r} as {role}, which is no name; decode again")
    if settings["source"] == settings["target"]:
        raise UserError(
            f"{output}: source and target language are both {settings['source']!r}, and so would their files be; "
            "give two names with --source-lang and --target-lang"
        )
    return BlockFolder(output, "decode", settings, output / "parts", (".src", ".tsv"), f"{settings['subset']}-")


def output_paths(output: Path, settings: dict[str, Any]) -> dict[str, Path]:
    """The files that a merge writes, by role: "source", "target" and, with several translations a row, "nbest"."""
    names = {"source": settings["source"], "target": settings["target"]}
    if settings["options"]["nbest"] > 1:
        names["nbest"] = "nbest.tsv"
    return {role: output / f"{settings['subset']}.{name}" for role, name in names.items()}


def write_missing(
    folder: BlockFolder, shard: Shard, decode_blocks: Callable[[list[Block], Progress], Iterator[Decoded]]
) -> None:
    """Decode and write the blocks of one run that do not exist yet.

    Args:
        folder: the blocks of the decode.
        shard: this run's share.
        decode_blocks: called once, with the missing blocks and a function that counts finished rows. It yields each
            block with its sources and translations. It is not called where no block is missing.
    """
    mine = folder.share(shard)
    missing = [block for block in mine if not block.done]
    if not missing:
        return
    total, left = count_rows(mine), count_rows(missing)
    logger.info("%s: shard %d of %d: %d of %d rows to decode", folder.output, shard.number, shard.shards, left, total)
    with tqdm(total=total, initial=total - left, unit="row", desc="decode", disable=None) as bar:
        for block, sources, translations in decode_blocks(missing, bar.update):
            write_block(block, sources, translations)


def write_block(block: Block, sources: Sequence[str], nbest_lists: Sequence[Sequence[Hypothesis]]) -> None:
    """Write the sources, one a line, then the translations as lines "row, rank from 1, score, subwords".

    The last line of both files is a checksum.
    """
    source_path, translation_path = block.paths
    write_sealed(source_path, "".join(f"{source}\n" for source in sources).encode())
    lines = (
        f"{row}\t{rank}\t{hypothesis.score:.6f}\t{hypothesis.tokens}\n"
        for row, hypotheses in zip(block.rows, nbest_lists, strict=True)
        for rank, hypothesis in enumerate(hypotheses, 1)
    )
    write_sealed(translation_path, "".join(lines).encode())


def read_block(block: Block, nbest: int) -> tuple[list[str], list[list[str]]]:
    """The sources, and the four fields of each line of translations.

    Raises:
        UserError: a row or a rank is missing, or a file is damaged.
    """
    source_path, translation_path = block.paths
    again = f"delete {translation_path.name} and run the decode again"
    expected = [[str(row), str(rank)] for row in block.rows for rank in range(1, nbest + 1)]
    try:
        sources = _lines(source_path)
        fields = [line.split("\t", 3) for line in _lines(translation_path)]
    except (OSError, ValueError) as error:
        raise UserError(f"{translation_path}: cannot be read ({error}); {again}") from None
    if len(sources) != len(block.rows):
        raise UserError(f"{source_path}: {len(sources)} lines, expected {len(block.rows)}; {again}")
    if [line[:2] for line in fields] != expected or any(len(line) != 4 for line in fields):
        raise UserError(f"{translation_path}: its rows do not have {nbest} translations each; {again}")
    return sources, fields


def _lines(path: Path) -> list[str]:
    # Only "\n" ends a line here: str.splitlines would also cut at separators that a subword may hold.
    return read_sealed(path).decode("utf-8").split("\n")[:-1]
