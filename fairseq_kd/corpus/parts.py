"""A decode's folder: ``parts/`` holds the settings and one pair of files for each block of rows.

Each block is decoded by one call, so what its files hold does not depend on which shard made them, or when.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_kd.decoding.interface import Hypothesis
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.shards import differences, read_settings, spans

SIGNATURE = "signature.json"


@dataclass(frozen=True)
class Block:
    """Rows decoded together, and the two files that hold them."""

    number: int
    rows: range
    sources: Path
    translations: Path

    @property
    def done(self) -> bool:
        """Whether both files are there: each appears whole, the translations last."""
        return self.sources.exists() and self.translations.exists()

    def write(self, sources: Sequence[str], nbest_lists: Sequence[Sequence[Hypothesis]]) -> None:
        """Write the sources, one a line, and the translations as "row, rank from 1, score, subwords"."""
        with whole_file(self.sources) as handle:
            handle.writelines(f"{source}\n" for source in sources)
        with whole_file(self.translations) as handle:
            for row, hypotheses in zip(self.rows, nbest_lists, strict=True):
                for rank, hypothesis in enumerate(hypotheses, 1):
                    handle.write(f"{row}\t{rank}\t{hypothesis.score:.6f}\t{hypothesis.tokens}\n")

    def read(self, nbest: int) -> tuple[list[str], list[list[str]]]:
        """The sources, and the four fields of each line of translations.

        Raises:
            UserError: a row or a rank is missing, or a file is damaged.
        """
        expected = [[str(row), str(rank)] for row in self.rows for rank in range(1, nbest + 1)]
        try:
            sources = _lines(self.sources)
            fields = [line.split("\t", 3) for line in _lines(self.translations)]
        except (OSError, ValueError) as error:
            raise UserError(f"{self.translations}: cannot be read ({error}); {self._again()}") from None
        if len(sources) != len(self.rows):
            raise UserError(f"{self.sources}: {len(sources)} lines, not {len(self.rows)}; {self._again()}")
        if [line[:2] for line in fields] != expected or any(len(line) != 4 for line in fields):
            raise UserError(f"{self.translations}: not {nbest} translations of each of its rows; {self._again()}")
        return sources, fields

    def _again(self) -> str:
        return f"delete {self.translations.name} and run the decode again"


def _lines(path: Path) -> list[str]:
    # Only "\n" ends a line here: str.splitlines would also cut at separators that a subword may hold.
    with open(path, encoding="utf-8", newline="\n") as handle:
        return handle.read().split("\n")[:-1]


def blocks(directory: Path, settings: dict[str, Any]) -> Iterator[Block]:
    """The blocks of a decode with ``settings`` into ``directory``, in the order of their rows."""
    for number, rows in spans(settings["rows"], settings["block_rows"]):
        stem = directory / "parts" / f"{settings['subset']}-{number:05d}"
        yield Block(number, rows, stem.with_suffix(".src"), stem.with_suffix(".tsv"))


def output_paths(directory: Path, settings: dict[str, Any]) -> dict[str, Path]:
    """What a merge writes beside its signature: "source", "target" and, where there are several a row, "nbest"."""
    names = {"source": settings["source"], "target": settings["target"]}
    if settings["options"]["nbest"] > 1:
        names["nbest"] = "nbest.tsv"
    return {role: directory / f"{settings['subset']}.{name}" for role, name in names.items()}


def read_signature(path: Path) -> dict[str, Any] | None:
    """A signature file's content; None where there is none.

    Raises:
        UserError: it is damaged.
    """
    return read_settings(path, "decode")


def claim(directory: Path, settings: dict[str, Any], work: str = "decode") -> None:
    """Make ``directory`` the place of a decode, or other ``work``, with ``settings``, unless it is that already.

    Raises:
        UserError: it holds work with other settings, or cannot be written.
    """
    for path in (directory / SIGNATURE, directory / "parts" / SIGNATURE):
        found = read_settings(path, work)
        if found is not None:
            _compare(directory, found, settings, work)
    try:
        if read_signature(directory / "parts" / SIGNATURE) is None:
            write_json(directory / "parts" / SIGNATURE, settings)
    except OSError as error:
        raise UserError(f"--output {directory}: cannot be written: {error.strerror}") from None


def _compare(directory: Path, found: dict[str, Any], settings: dict[str, Any], work: str) -> None:
    # A merged signature says more than the settings.
    details = differences(found, settings)
    if details:
        raise UserError(
            f"{directory} holds a {work} with other settings: {details}; give another --output or delete it"
        )


def is_merged(directory: Path, settings: dict[str, Any]) -> bool:
    """Whether a merge's outputs are all there and are what its signature says."""
    return is_whole(directory, output_paths(directory, settings).values())


def is_whole(directory: Path, paths: Iterable[Path]) -> bool:
    """Whether files of ``directory`` are all there and are what its signature says."""
    signature = read_signature(directory / SIGNATURE)
    if signature is None:
        return False
    return all(path.is_file() and file_hash(path) == signature.get("sha256", {}).get(path.name) for path in paths)
