"""What the blocks of a decode hold, and where: ``parts/SUBSET-NNNNN.src`` and ``.tsv`` below the decode's output.

``parts/signature.json`` keeps the settings. One call of the engine decodes one block.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairseq_kd.decoding.interface import Hypothesis
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Block, BlockFolder
from fairseq_kd.storage.files import whole_file


def decode_folder(output: Path, settings: dict[str, Any]) -> BlockFolder:
    """The blocks of a decode into ``output``: one file with the sources, then one with the translations."""
    return BlockFolder(output, "decode", settings, output / "parts", (".src", ".tsv"), f"{settings['subset']}-")


def output_paths(output: Path, settings: dict[str, Any]) -> dict[str, Path]:
    """The files that a merge writes, by role: "source", "target" and, with several translations a row, "nbest"."""
    names = {"source": settings["source"], "target": settings["target"]}
    if settings["options"]["nbest"] > 1:
        names["nbest"] = "nbest.tsv"
    return {role: output / f"{settings['subset']}.{name}" for role, name in names.items()}


def write_block(block: Block, sources: Sequence[str], nbest_lists: Sequence[Sequence[Hypothesis]]) -> None:
    """Write the sources, one a line, then the translations as lines "row, rank from 1, score, subwords"."""
    source_path, translation_path = block.paths
    with whole_file(source_path) as handle:
        handle.writelines(f"{source}\n" for source in sources)
    with whole_file(translation_path) as handle:
        for row, hypotheses in zip(block.rows, nbest_lists, strict=True):
            for rank, hypothesis in enumerate(hypotheses, 1):
                handle.write(f"{row}\t{rank}\t{hypothesis.score:.6f}\t{hypothesis.tokens}\n")


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
    with open(path, encoding="utf-8", newline="\n") as handle:
        return handle.read().split("\n")[:-1]
