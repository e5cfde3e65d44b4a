"""Of a teacher's n-best lists, the candidate closest to the gold target (Seq-Inter; Kim & Rush 2016, section 3.3).

A student trained on the chosen candidates learns what the teacher would say, as near to the gold target as it comes.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from fairseq_kd.corpus.seq_inter.gold import Gold, no_gold, open_gold
from fairseq_kd.corpus.seq_inter.nbest import NBest, check_nbest
from fairseq_kd.corpus.seq_inter.selection import select_folder, write_blocks, write_chosen
from fairseq_kd.corpus.seq_inter.similarity import Similarity
from fairseq_kd.corpus.signatures import joining, read_made
from fairseq_kd.data.databins.files import UNNAMED, Languages, folders
from fairseq_kd.data.text.joining import warn_of_joining
from fairseq_kd.data.text.unspaced import AUTO, fitting_tokenizer, language_without_spaces, warn_of_spaces
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import SIGNATURE, BlockFolder
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.processes import check_workers
from fairseq_kd.storage.provenance import versions
from fairseq_kd.storage.structured import read_json

logger = logging.getLogger(__name__)

REPORT = "report.json"


@dataclass(frozen=True)
class Origin:
    """Where the lists come from.

    Attributes:
        folder: that holds them.
        subset: the split that was decoded.
        decode: the decode's signature, where it is in the folder and speaks of the lists.
    """

    folder: Path
    subset: str
    decode: dict[str, Any] | None

    @property
    def target(self) -> str:
        """The name of the chosen text."""
        return f"{self.subset}.{self.decode['target']}" if self.decode else "selected.txt"

    @property
    def source(self) -> str | None:
        """The name of the text that was decoded; None where no signature tells it."""
        return f"{self.subset}.{self.decode['source']}" if self.decode else None


def select(
    nbest: Path,
    reference: Path | None,
    output: Path,
    similarity: Similarity | None = None,
    *,
    workers: int | None = None,
    block_rows: int = 1000,
    languages: Languages = UNNAMED,
) -> dict[str, Any]:
    """Choose from each list the candidate closest to the gold target, and write the chosen text and ``report.json``.

    Everything is checked first. Blocks that exist already are kept, so that a killed run goes on where it was, and a
    finished selection is left as it is.

    Args:
        nbest: ``SUBSET.nbest.tsv`` of :func:`fairseq_kd.corpus.distilled.decode.decode` with several translations a
            row.
        reference: the gold target: detokenised text, one line a row, or the data-bin that was decoded; None for
            a metric that compares candidates with each other.
        output: the folder that gets the text and the report; it must not be the folder of the lists.
        similarity: how candidates and gold target are compared; by default sentence BLEU of sentencepiece's subwords,
            with the tokenizer that fits the text.
            Candidates that ``decode --input`` joined with a sentencepiece model stay as they are.
        workers: processes; by default one for each processor.
        block_rows: rows written at a time, all that a kill can lose.
        languages: source and target of a data-bin as the gold target; by default those that were decoded.

    Returns:
        The report: "metric" (sacreBLEU's signature), "candidates" of each row, and what
        :func:`fairseq_kd.corpus.seq_inter.selection.write_chosen` counts.

    Raises:
        UserError: a number is below 1, a file is missing or damaged, lists and gold target have different rows, or
            ``output`` holds a selection with other settings.
    """
    if similarity is None:
        similarity = Similarity(tokenize=AUTO)
    workers = check_workers(workers)
    if block_rows < 1:
        raise UserError(f"--block-rows {block_rows}: give 1 or more")
    if not nbest.is_file():
        raise UserError(f"--nbest {nbest}: no such file; give the SUBSET.nbest.tsv of fairseq-kd decode")
    if output.resolve() == nbest.parent.resolve():
        raise UserError(f"--output {output}: the lists are in it; give another folder")
    origin = _origin(nbest)
    gold = _gold(nbest, reference, origin, similarity, languages)
    lists = check_nbest(nbest, gold.rows, block_rows)
    _check_origin(origin, {nbest.name: lists.sha256})
    tokens = _first_tokens(nbest)
    similarity = _fitting(similarity, tokens, origin)
    warn_of_joining(tokens, similarity.post_process, nbest.name)
    folder = select_folder(output, _settings(lists, gold, similarity, origin))
    folder.claim()
    paths = [output / name for name in (origin.source, origin.target, REPORT) if name]
    if folder.finished(paths):
        logger.info("%s: already selected with these settings; nothing to do", output)
        return read_json(output / REPORT)
    write_blocks(folder.blocks, lists, gold.lines(), similarity, workers)
    folder.sweep(paths)
    return _write_outputs(folder, paths, origin, {"metric": similarity.signature, "candidates": lists.size})


def _first_tokens(nbest: Path) -> list[str]:
    """The tokens of the first 1,000 candidates."""
    with open(nbest, encoding="utf-8", newline="\n") as handle:
        return [token for line in islice(handle, 1000) for token in line.rstrip("\n").split("\t", 3)[-1].split(" ")]


def _fitting(given: Similarity, tokens: Sequence[str], origin: Origin) -> Similarity:
    """The similarity with the way in which candidates like ``tokens`` are joined, and with a tokenizer of sacreBLEU."""
    found = replace(given, post_process=joining(origin.decode, "target", given.post_process))
    language = language_without_spaces(tokens, origin.decode["target"] if origin.decode else None)
    if given.tokenize == AUTO:
        return replace(found, tokenize=fitting_tokenizer(language))
    if (given.post_process, given.tokenize) != ("none", "none"):  # else subwords are compared
        warn_of_spaces(given.tokenize, language, fitting_tokenizer(language))
    return found


def check_reference(reference: Path | None, similarity: Similarity) -> None:
    """Check what can be known of a reference before there are lists.

    Raises:
        UserError: it is missing, or the metric needs none.
    """
    if reference is None:
        return
    if not similarity.needs_gold:
        raise UserError(f"--reference {reference}: --metric {similarity.metric} needs none; leave it out")
    if not all(path.exists() for path in folders(reference)) and not reference.exists():
        raise UserError(f"--reference {reference}: no such file or folder")


def _gold(nbest: Path, reference: Path | None, origin: Origin, similarity: Similarity, given: Languages) -> Gold:
    if any(given) and (reference is None or reference.is_file()):
        raise UserError(
            "--source-lang and --target-lang name the languages of a data-bin as --reference; leave them out"
        )
    check_reference(reference, similarity)
    if not similarity.needs_gold:
        return no_gold(nbest)
    if reference is None:
        raise UserError(f"--metric {similarity.metric}: needs the gold target; give --reference FILE")
    made = origin.decode or {}
    languages = given if any(given) else (made.get("source"), made.get("target"))
    return open_gold(reference, origin.subset, similarity.post_process, languages)


def _origin(nbest: Path) -> Origin:
    decode = read_made(nbest.parent)
    if (
        decode is None
        or nbest.name not in decode.get("sha256", {})
        or not {"subset", "source", "target"} <= decode.keys()
    ):
        return Origin(nbest.parent, nbest.name.removesuffix(".nbest.tsv"), None)
    return Origin(nbest.parent, decode["subset"], decode)


def _check_origin(origin: Origin, hashes: dict[str, str]) -> None:
    """Raise a UserError unless lists and sources are what the decode wrote."""
    if origin.decode is None or origin.source is None:
        return
    for name, found in {**hashes, origin.source: file_hash(origin.folder / origin.source)}.items():
        if found != origin.decode["sha256"].get(name):
            raise UserError(
                f"{origin.folder / name}: it has changed since {SIGNATURE} beside it was written; "
                f"run fairseq-kd merge {origin.folder}"
            )


def _settings(nbest: NBest, gold: Gold, similarity: Similarity, origin: Origin) -> dict[str, Any]:
    """All that the choice depends on; hashes, not paths."""
    made = origin.decode or {}
    # recut asks the tokenizers whether the text is in subwords
    told: dict[str, Any] = {name: made[name] for name in ("source", "target", "tokenizers") if name in made}
    return {
        "nbest": nbest.sha256,
        "reference": gold.sha256,
        "subset": origin.subset,
        **told,
        "rows": gold.rows,
        "similarity": asdict(similarity),
        "block_rows": nbest.block_rows,
    }


def _write_outputs(
    folder: BlockFolder, paths: Sequence[Path], origin: Origin, report: dict[str, Any]
) -> dict[str, Any]:
    """Write the text of all blocks, its sources where they are known, the report and the signature."""
    if origin.source:
        with whole_file(paths[0], "wb") as copy, open(origin.folder / origin.source, "rb") as text:
            shutil.copyfileobj(text, copy)
    with whole_file(folder.output / origin.target) as handle:
        report = {**report, **write_chosen(folder.blocks, handle)}
    write_json(folder.output / REPORT, report)
    folder.finish(paths, {"decode": origin.decode, "versions": versions()})
    logger.info("%s: wrote %s and %s", folder.output, ", ".join(path.name for path in paths), SIGNATURE)
    return report


def summary(report: dict[str, Any]) -> str:
    """A report of :func:`select` in a few lines for people."""
    rows, size = report["rows"], report["candidates"]
    counts = {**report["ranks"], "none (untranslated)": report.get("untranslated", 0)}  # earlier reports lack it
    ranks = ", ".join(f"{rank}: {count / rows:.1%}" for rank, count in counts.items() if count)
    return (
        f"{report['metric']}\n"
        f"{rows} rows of {size} candidates, {report['distinct'] / (rows * size):.1%} of them distinct\n"
        f"mean similarity of rank 1: {report['rank_1']:.2f}, of the chosen: {report['chosen']:.2f} "
        f"(gain {report['gain']:.2f}); "
        f"{report['improved'] / rows:.1%} of the rows have a candidate closer than rank 1\n"
        f"chosen ranks: {ranks}"
    )
