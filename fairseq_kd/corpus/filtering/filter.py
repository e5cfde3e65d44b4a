"""Drop rows of a corpus that teach little: empty, unlike in length, copied, looping, repeated, or badly translated."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from sentencepiece import SentencePieceProcessor
from tqdm import tqdm

from fairseq_kd.corpus.compressed import plain_name
from fairseq_kd.corpus.filtering.input import Corpus, open_corpus
from fairseq_kd.corpus.filtering.reverse_model import ReverseModel
from fairseq_kd.corpus.filtering.rules import KEPT, NAMES, REVERSE, SCORE, Rules
from fairseq_kd.corpus.filtering.verdicts import RECORD, Verdicts, text_key, write_records
from fairseq_kd.corpus.recut import plain
from fairseq_kd.corpus.text_lines import count_lines, stream_lines
from fairseq_kd.data.databins.files import Languages
from fairseq_kd.data.text.pieces import load_spm
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import BlockFolder, Shard, count_rows
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.provenance import versions
from fairseq_kd.storage.structured import read_json

logger = logging.getLogger(__name__)

REPORT, ROWS = "report.json", "rows.txt"
EXAMPLES = 5
"""Dropped rows of each rule that the report shows."""
WIDTH = 50
"""Characters of an example in the table."""
BLOCKS = Shard(block_rows=10000)


def filter_corpus(
    text: Path,
    output: Path,
    rules: Rules = Rules(),  # noqa: B008
    *,
    languages: Languages | None = None,
    post: str = "none",
    along: Sequence[Path] = (),
    reverse: ReverseModel | None = None,
    reverse_spm_model: Path | None = None,
    shard: Shard = BLOCKS,
) -> dict[str, Any] | None:
    """Write the rows that break no rule, in their order, and a report of the others.

    ``output`` gets both files under their names, ``rows.txt`` with the numbers of the kept rows (from 0), the files of
    ``along`` with the same rows, ``report.json`` and, last, ``signature.json``. Blocks that exist are kept, so that a
    killed run goes on, and finished work is left as it is.

    Args:
        text: as for :func:`fairseq_kd.corpus.filtering.input.open_corpus`.
        output: another folder.
        rules: what is dropped.
        languages: as for :func:`fairseq_kd.corpus.filtering.input.open_corpus`.
        post: how the text's subwords are joined, one of :data:`fairseq_kd.data.text.subwords.POST_PROCESSES`. Text that
            ``decode --input`` joined with a sentencepiece model stays as it is.
        along: other files with the same rows, for instance the gold targets; compressed ones are written as plain text.
        reverse: the model that ``rules.reverse_share`` asks.
        reverse_spm_model: a sentencepiece model that cuts joined text for that model; None: it takes the text's own
            tokens.
        shard: this run's share of the work.

    Returns:
        The report: "rows", "kept", "dropped" (for each rule "rows" and "examples"), "thresholds" of score and reverse
        model, "unscored" rows, "rules" and "versions". None where another run has blocks to do.

    Raises:
        UserError: the text is missing, damaged or not parallel, a share lacks its scores or its model, or ``output``
            holds other work.
    """
    corpus = open_corpus(text, languages)
    _check(corpus, output, rules, along, reverse)
    spm = load_spm(reverse_spm_model) if reverse_spm_model else None
    posts = corpus.joinings(post)
    settings = _settings(corpus, rules, posts, along, reverse, reverse_spm_model, shard)
    folder = BlockFolder(output, "filter", settings, output / "parts", (".npy",))
    folder.claim()
    paths = [output / name for name in (*_names(corpus, along), ROWS, REPORT)]
    if folder.finished(paths):
        logger.info("%s: already filtered with these settings; nothing to do", output)
        return read_json(output / REPORT)
    _write_blocks(folder, shard, _Judge(corpus, rules, posts, reverse, spm))
    if not all(block.done for block in folder.blocks):
        return None
    folder.sweep(paths)
    verdicts = Verdicts(folder.blocks, corpus.rows)
    report = _compare(verdicts, rules)
    report |= _write_outputs(corpus, verdicts.rules, along, output)
    report |= {"rules": asdict(rules), "versions": versions()}
    write_json(output / REPORT, report)
    folder.finish(paths, {"lines": {path.name: report["kept"] for path in paths[:-1]}, "versions": versions()})
    return report


def _check(corpus: Corpus, output: Path, rules: Rules, along: Sequence[Path], reverse: ReverseModel | None) -> None:
    if output.resolve() == corpus.source.parent.resolve():
        raise UserError(f"--output {output}: the text is in it; give another folder")
    if bool(rules.reverse_share) != (reverse is not None):
        raise UserError("--reverse-share and --reverse-model go together: give both, or none")
    corpus.look_at_spaces(rules.length_unit if rules.length_ratio else "")
    if rules.score_share:
        next(corpus.scores())
    names = [*_names(corpus, along), ROWS, REPORT]
    for path in along:
        if names.count(plain_name(path)) > 1:
            raise UserError(f"--along {path}: two outputs would have its name; rename the file")
        lines = count_lines(path)
        if lines != corpus.rows:
            raise UserError(
                f"--along {path}: {lines} lines, {corpus.source} has {corpus.rows}; give a file with the same rows"
            )


def _names(corpus: Corpus, along: Sequence[Path]) -> list[str]:
    """The names of the files that are written: plain text, so without the ending of a compressed file."""
    return [*map(plain_name, (corpus.source, corpus.target, *along))]


def _settings(
    corpus: Corpus,
    rules: Rules,
    posts: tuple[str, str],
    along: Sequence[Path],
    reverse: ReverseModel | None,
    reverse_spm_model: Path | None,
    shard: Shard,
) -> dict[str, Any]:
    asked, made = None, corpus.signature or {}
    if reverse is not None:
        asked = {"files": reverse.sha256, "spm_model": file_hash(reverse_spm_model) if reverse_spm_model else None}
    return {
        "subset": corpus.subset,
        "source": corpus.languages[0],
        "target": corpus.languages[1],
        "rows": corpus.rows,
        **{key: made[key] for key in ("tokenizers",) if key in made},  # recut asks whether the text is in subwords
        "text": [file_hash(path) for path in (corpus.source, corpus.target)],
        "along": {path.name: file_hash(path) for path in along},
        "filter": {**asdict(rules), "post_process": posts[0] if posts[0] == posts[1] else list(posts)},
        "reverse_model": asked,
        "block_rows": shard.block_rows,
    }


@dataclass(frozen=True)
class _Judge:
    """Finds the records of rows. The attributes are the arguments of :func:`filter_corpus`, read."""

    corpus: Corpus
    rules: Rules
    posts: tuple[str, str]
    reverse: ReverseModel | None
    spm: SentencePieceProcessor | None

    def records(self, pairs: Sequence[tuple[str, str]], scores: Sequence[float]) -> np.ndarray:
        """The records of a block, shape (rows,).

        Args:
            pairs: both sides of its rows, as they stand.
            scores: of its rows, or none.
        """
        found = np.zeros(len(pairs), RECORD)
        found["score"] = scores if scores else np.nan
        found["reverse"] = np.nan
        scored, rows = [], []
        for row, pair in enumerate(pairs):
            tokens = (pair[0].split(), pair[1].split())
            texts = (plain(pair[0], self.posts[0]), plain(pair[1], self.posts[1]))
            found["rule"][row] = self.rules.broken(tokens, texts)
            found["key"][row] = text_key(*texts)
            if self.reverse and found["rule"][row] == KEPT:
                scored.append(tokens if self.spm is None else tuple(self.spm.encode(list(texts), out_type=str)))
                rows.append(row)
        if self.reverse and rows:
            found["reverse"][rows] = self.reverse.cross_entropies(scored)
        return found


def _write_blocks(folder: BlockFolder, shard: Shard, judge: _Judge) -> None:
    mine = folder.share(shard)
    missing = {block.number for block in mine if not block.done}
    if not missing:
        return
    total, left = count_rows(mine), sum(len(block.rows) for block in mine if block.number in missing)
    logger.info("%s: shard %d of %d: %d of %d rows to judge", folder.output, shard.number, shard.shards, left, total)
    pairs = judge.corpus.pairs()
    scores = judge.corpus.scores() if judge.rules.score_share else iter(())
    with tqdm(total=total, initial=total - left, unit="row", desc="filter", disable=None) as bar:
        for block in folder.blocks:
            rows = list(islice(pairs, len(block.rows)))
            own_scores = list(islice(scores, len(block.rows)))
            if block.number in missing:
                write_records(block, judge.records(rows, own_scores))
                bar.update(len(rows))


def _compare(verdicts: Verdicts, rules: Rules) -> dict[str, Any]:
    """Drop rows in comparison with others; the thresholds."""
    thresholds, unscored = {}, {}
    if rules.duplicates:
        verdicts.drop_duplicates()
    if rules.score_share:
        thresholds["score"], unscored["score"] = verdicts.drop_share("score", SCORE, rules.score_share, lowest=True)
    if rules.reverse_share:
        found = verdicts.drop_share("reverse", REVERSE, rules.reverse_share, lowest=False)
        thresholds["reverse"], unscored["reverse"] = found
    return {"thresholds": thresholds, "unscored": unscored}


def _write_outputs(corpus: Corpus, rules: np.ndarray, along: Sequence[Path], output: Path) -> dict[str, Any]:
    """Write the kept rows of all files; the counts and the examples."""
    counts = np.bincount(rules, minlength=len(NAMES))
    dropped: dict[str, dict[str, Any]] = {
        name: {"rows": int(count), "examples": []} for name, count in zip(NAMES, counts, strict=True) if name != "kept"
    }
    files = (corpus.source, corpus.target, *along)
    with ExitStack() as stack:
        handles = [stack.enter_context(whole_file(output / name)) for name in _names(corpus, along)]
        numbers = stack.enter_context(whole_file(output / ROWS))
        for row, lines in enumerate(zip(*map(stream_lines, files), strict=True)):
            if rules[row] == KEPT:
                numbers.write(f"{row}\n")
                for handle, line in zip(handles, lines, strict=True):
                    handle.write(line + "\n")
                continue
            examples = dropped[NAMES[rules[row]]]["examples"]
            if len(examples) < EXAMPLES:
                examples.append({"row": row, "source": lines[0], "target": lines[1]})
    return {"rows": corpus.rows, "kept": int(counts[KEPT]), "dropped": dropped}


def table(report: dict[str, Any]) -> str:
    """A report of :func:`filter_corpus` as a table for people, with one example of each rule."""
    rows = report["rows"]
    lines = [f"{'rule':<14}{'rows':>12}{'share':>8}  first example"]
    for name, found in report["dropped"].items():
        first = found["examples"][0] if found["examples"] else None
        example = f"row {first['row']}: {first['source']} ||| {first['target']}" if first else ""
        short = example if len(example) <= WIDTH else example[: WIDTH - 1] + "…"
        lines.append(f"{name:<14}{found['rows']:>12,}{found['rows'] / rows:>8.1%}  {short}".rstrip())
    return "\n".join([*lines, f"{'kept':<14}{report['kept']:>12,}{report['kept'] / rows:>8.1%}"])
