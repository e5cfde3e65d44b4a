"""`fairseq-kd select`: of a teacher's n-best lists, the candidate closest to the gold target (Seq-Inter).

Kim & Rush 2016, section 3.3: a student trained on it learns what the teacher would say, as near to the gold target
as it comes.
"""

import argparse
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fairseq_kd.corpus.parts import SIGNATURE, claim, is_whole, read_signature
from fairseq_kd.corpus.seq_inter.closest import METRICS, SMOOTH_METHODS, TOKENIZERS, Similarity
from fairseq_kd.corpus.seq_inter.gold import Gold, open_gold
from fairseq_kd.corpus.seq_inter.nbest import NBest, check_nbest
from fairseq_kd.corpus.seq_inter.selection import join, parts, write_parts
from fairseq_kd.data.subwords import POST_PROCESSES
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.provenance import versions

logger = logging.getLogger(__name__)

REPORT = "report.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fairseq-kd select`."""
    add = parser.add_argument
    add("--nbest", required=True, metavar="FILE", type=Path, help="SUBSET.nbest.tsv of fairseq-kd decode --nbest N")
    add("--reference", required=True, metavar="FILE", type=Path,
        help="the gold target: detokenised text, one line a row, or the data-bin that was decoded")  # fmt: skip
    add("--metric", default="sentence-bleu", choices=METRICS, help="what close means (%(default)s)")
    add("--output", required=True, metavar="DIR", type=Path, help="where the chosen text and report.json go")
    add("--post-process", default="sentencepiece", choices=POST_PROCESSES,
        help="how candidates, and a data-bin's targets, are joined from subwords (%(default)s)")  # fmt: skip
    add("--tokenize", choices=TOKENIZERS, help="sacreBLEU's tokenizer for BLEU (13a)")
    add("--smooth-method", choices=SMOOTH_METHODS, help="sacreBLEU's smoothing of BLEU (exp)")
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (%(default)s)")
    add("--block-rows", type=int, default=1000, help="rows written at a time, all a kill can lose (%(default)s)")


@dataclass(frozen=True)
class Origin:
    """Where a list comes from.

    Attributes:
        subset: the split that was decoded.
        decode: its decode's signature, if that lies beside it.
    """

    subset: str
    decode: dict[str, Any] | None

    @property
    def target(self) -> str:
        """The name of the chosen text."""
        return f"{self.subset}.{self.decode['target']}" if self.decode else "selected.txt"

    @property
    def source(self) -> str | None:
        """The name of the text that was decoded."""
        return f"{self.subset}.{self.decode['source']}" if self.decode else None


def run(options: argparse.Namespace) -> None:
    """Check everything, choose for the rows that are not chosen for yet, and join them."""
    similarity = _similarity(options)
    if not options.nbest.is_file():
        raise UserError(f"--nbest {options.nbest}: no such file; give the SUBSET.nbest.tsv of fairseq-kd decode")
    if options.output.resolve() == options.nbest.parent.resolve():
        raise UserError(f"--output {options.output}: the lists are there; give another folder")
    origin = _origin(options.nbest)
    gold = open_gold(options.reference, origin.subset, options.post_process)
    nbest = check_nbest(options.nbest, gold.rows, options.block_rows)
    _check_origin(options.nbest.parent, {options.nbest.name: nbest.sha256}, origin)
    settings = _settings(nbest, gold, similarity, origin)
    claim(options.output, settings, "selection")
    paths = [options.output / name for name in (origin.source, origin.target, REPORT) if name]
    if is_whole(options.output, paths):
        logger.info("%s: already selected with these settings; nothing to do", options.output)
        return
    every = parts(options.output, gold.rows, options.block_rows)
    write_parts(every, nbest, gold.lines(), similarity, options.workers)
    _remove_leftovers(options.output, paths)
    if origin.source:
        with whole_file(paths[0], "wb") as copy, open(options.nbest.parent / origin.source, "rb") as text:
            shutil.copyfileobj(text, copy)
    with whole_file(options.output / origin.target) as handle:
        report = {"metric": similarity.signature, "candidates": nbest.size, **join(every, handle)}
    write_json(options.output / REPORT, report)
    made = {"decode": origin.decode, "versions": versions(), "sha256": {path.name: file_hash(path) for path in paths}}
    write_json(options.output / SIGNATURE, {**settings, **made})
    print(_summary(report))
    logger.info("%s: wrote %s and %s", options.output, ", ".join(path.name for path in paths), SIGNATURE)


def _similarity(options: argparse.Namespace) -> Similarity:
    for name in ("workers", "block_rows"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: give 1 or more")
    if options.metric == "chrf":
        for name in ("tokenize", "smooth_method"):
            if getattr(options, name):
                raise UserError(f"--{name.replace('_', '-')} goes with --metric sentence-bleu")
        return Similarity("chrf", options.post_process)
    return Similarity(
        options.metric,
        options.post_process,
        options.tokenize or TOKENIZERS[0],
        options.smooth_method or SMOOTH_METHODS[0],
    )


def _origin(nbest: Path) -> Origin:
    """The signature beside the list counts if it speaks of the list."""
    decode = read_signature(nbest.parent / SIGNATURE)
    if decode is None or nbest.name not in decode.get("sha256", {}):
        return Origin(nbest.name.removesuffix(".nbest.tsv"), None)
    return Origin(decode["subset"], decode)


def _check_origin(folder: Path, hashes: dict[str, str], origin: Origin) -> None:
    """Raise a UserError unless list and sources are what the decode wrote."""
    if origin.decode is None or origin.source is None:
        return
    for name, found in {**hashes, origin.source: file_hash(folder / origin.source)}.items():
        if found != origin.decode["sha256"].get(name):
            raise UserError(f"{folder / name}: not what {SIGNATURE} beside it says; run fairseq-kd merge {folder}")


def _settings(nbest: NBest, gold: Gold, similarity: Similarity, origin: Origin) -> dict[str, Any]:
    """All that the choice depends on; hashes, not paths."""
    languages = {name: origin.decode[name] for name in ("source", "target")} if origin.decode else {}
    return {
        "nbest": nbest.sha256,
        "reference": gold.sha256,
        "subset": origin.subset,
        **languages,
        "rows": gold.rows,
        "similarity": asdict(similarity),
        "block_rows": nbest.block_rows,
    }


def _remove_leftovers(directory: Path, paths: Sequence[Path]) -> None:
    """Delete what killed runs left half-written."""
    for path in (*paths, directory / SIGNATURE, directory / "parts" / "*"):
        for leftover in path.parent.glob(f"{path.name}.*.tmp"):
            leftover.unlink(missing_ok=True)


def _summary(report: dict[str, Any]) -> str:
    rows, size = report["rows"], report["candidates"]
    ranks = ", ".join(f"{rank}: {count / rows:.1%}" for rank, count in report["ranks"].items())
    return (
        f"{report['metric']}\n"
        f"{rows} rows of {size} candidates, {report['distinct'] / (rows * size):.1%} of them distinct\n"
        f"mean of rank 1: {report['rank_1']:.2f}, of the chosen: {report['chosen']:.2f} (gain {report['gain']:.2f}); "
        f"another than rank 1 is closer for {report['improved'] / rows:.1%} of the rows\n"
        f"chosen ranks: {ranks}"
    )
