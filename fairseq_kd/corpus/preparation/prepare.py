"""From raw parallel text to subword text, fairseq's dictionary and, if asked for, a data-bin.

A training row with an empty side is dropped from both sides and counted. Rows of valid and test are never dropped, so
that they stay aligned with the raw text. The text is read, cut and written in blocks: memory does not grow with it,
but for the sample that a new sentencepiece model learns from.
"""

import itertools
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fairseq_kd.corpus.parallel_text import LONGEST_LINE, SAMPLE, SPLITS, Side, Stretch, read_sides, write_lines
from fairseq_kd.corpus.preparation.cut_blocks import cut_block
from fairseq_kd.corpus.preparation.prepared_files import (
    check_apart,
    check_replaceable,
    finished,
    sweep,
    write_databin,
    write_subwords,
)
from fairseq_kd.corpus.preparation.subword_model import dictionary_lines, drawn, train_spm
from fairseq_kd.data.text.pieces import load_spm
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Block, BlockFolder, count_rows
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.processes import alone_in, check_workers, in_processes
from fairseq_kd.storage.provenance import versions
from fairseq_kd.storage.settings import differences, read_settings

logger = logging.getLogger(__name__)
BLOCK_ROWS = 10_000
REPORT, SETTINGS = "prepare.json", "settings.json"
Sides = dict[str, tuple[Side, Side]]


def prepare(
    text: Mapping[str, str | Path],
    languages: tuple[str, str],
    output: Path,
    *,
    vocab_size: int | None = None,
    spm_model: Path | None = None,
    longest_line: int = LONGEST_LINE,
    sample: int = SAMPLE,
    seed: int = 1,
    workers: int | None = None,
    data_bin: Path | None = None,
    block_rows: int = BLOCK_ROWS,
) -> dict[str, Any]:
    """Write ``spm.model``, ``dict.txt``, ``subword/`` and, last, ``prepare.json``, once all text is checked.

    Blocks that a killed run wrote are kept, and so is its sentencepiece model. Finished work is left as it is. Work of
    other settings in ``output`` is replaced.

    Args:
        text: the prefix of each split, by the split's name: "train", "valid" and "test".
        languages: of source and target, the endings of the files.
        output: the folder that gets the files.
        vocab_size: train a joint model of this many pieces on the training text.
        spm_model: use this sentencepiece model instead; give one of the two.
        longest_line: the model learns from no line of more bytes.
        sample: training pairs that the model learns from; of more pairs, so many are drawn.
        seed: of the pairs drawn for it.
        workers: processes that cut text; None: one for each processor. The files do not depend on it.
        data_bin: a folder that becomes fairseq's data-bin of the subwords, byte for byte as fairseq-preprocess makes
            it; None: no such folder.
        block_rows: rows of a block.

    Returns:
        The report in ``prepare.json``: "languages", "spm_model_sha256", "vocabulary" (pieces), "sample" ("pairs",
        "of" and "seed"; None with ``spm_model``), "splits" (what
        :func:`fairseq_kd.corpus.preparation.prepared_files.write_subwords` counts), "made_from", "sha256" of the
        files and "versions".

    Raises:
        UserError: text is missing, damaged, empty or not parallel, a number is out of range, the vocabulary size does
            not fit the text, the model is not a sentencepiece model, ``data_bin`` cannot be made,
            or another run is at work in ``output``.
    """
    if (vocab_size is None) == (spm_model is None):
        raise UserError("give either --vocab-size or --spm-model")
    if sample < 1:
        raise UserError(f"--sample-pairs {sample}: give 1 or more")
    workers = check_workers(workers)
    if data_bin is not None:
        check_apart(data_bin, output)
        check_replaceable(data_bin)
    if spm_model is not None:
        load_spm(spm_model)
    sides = {split: read_sides(text[split], languages, block_rows) for split in SPLITS}
    rows = sides["train"][0].rows
    sampled = None if spm_model else {"pairs": min(sample, rows), "of": rows, "seed": seed if sample < rows else None}
    settings = {
        "languages": list(languages),
        "text": {split: [side.sha256 for side in pair] for split, pair in sides.items()},
        "vocab_size": vocab_size,
        "spm_model": file_hash(spm_model) if spm_model else None,
        "max_line_bytes": longest_line if vocab_size else None,
        "sample": sampled,
        "block_rows": block_rows,
    }
    with alone_in(output):
        done = finished(output, output / REPORT, settings, data_bin)
        if done is not None:
            logger.info("%s: already prepared with these settings; nothing to do", output)
            return done
        _claim(output, settings, data_bin)
        if spm_model is None:
            _train(output, sides["train"], settings, seed)
        else:
            with whole_file(output / "spm.model", "wb") as handle:
                handle.write(spm_model.read_bytes())
        blocks = {split: _blocks(output, split, pair[0].rows, block_rows) for split, pair in sides.items()}
        _cut(output / "spm.model", sides, blocks, workers)
        return _finish(text, output, settings, blocks, data_bin)


def _claim(output: Path, settings: dict[str, Any], data_bin: Path | None) -> None:
    """Empty the folder of blocks, unless a run with these settings began it, and sweep what killed runs left."""
    parts = output / "parts"
    found = read_settings(parts / SETTINGS, "prepare")
    if parts.is_dir() and (found is None or differences(found, settings)):
        shutil.rmtree(parts)
    sweep(output, data_bin)
    try:
        (output / REPORT).unlink(missing_ok=True)  # it would speak of other files
        write_json(parts / SETTINGS, settings)
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {error.strerror}") from None


def _train(output: Path, pair: tuple[Side, Side], settings: dict[str, Any], seed: int) -> None:
    """Train the sentencepiece model, unless a killed run has done it."""
    trained = output / "parts" / "spm.json"
    found = read_settings(trained, "prepare")
    path = output / "spm.model"
    if found is not None and path.is_file() and file_hash(path) == found.get("sha256"):
        return
    count = settings["sample"]["pairs"]
    if count < pair[0].rows:
        logger.info("sentencepiece learns from %d of %d training pairs", count, pair[0].rows)
    lines = (itertools.compress(side.lines(), drawn(side.rows, count, seed)) for side in pair)
    model = train_spm(itertools.chain.from_iterable(lines), settings["vocab_size"], settings["max_line_bytes"])
    with whole_file(path, "wb") as handle:
        handle.write(model)
    write_json(trained, {"sha256": file_hash(path)})


def _blocks(output: Path, split: str, rows: int, block_rows: int) -> list[Block]:
    parts = output / "parts"
    settings = {"rows": rows, "block_rows": block_rows}
    return BlockFolder(parts, "prepare", settings, parts, (".npz",), f"{split}-").blocks


def _cut(model: Path, sides: Sides, blocks: Mapping[str, Sequence[Block]], workers: int) -> None:
    """Write the blocks that do not exist yet."""
    missing = {split: [block for block in blocks[split] if not block.done] for split in blocks}
    total, left = (sum(map(count_rows, every.values())) for every in (blocks, missing))
    if not left:
        return

    def jobs() -> Iterator[tuple[Block, Path, tuple[Stretch, Stretch], bool]]:
        for split, some in missing.items():
            wanted = {block.number: block for block in some}
            source, target = (side.stretches() for side in sides[split])
            for number, pair in enumerate(zip(source, target, strict=True)):
                if number in wanted:
                    yield wanted[number], model, pair, split == "train"

    with tqdm(total=total, initial=total - left, desc="subwords", disable=None, unit="row") as bar:
        for rows in in_processes(cut_block, jobs(), workers, "prepare"):
            bar.update(rows)


def _finish(
    text: Mapping[str, str | Path],
    output: Path,
    settings: dict[str, Any],
    blocks: Mapping[str, Sequence[Block]],
    data_bin: Path | None,
) -> dict[str, Any]:
    languages = settings["languages"]
    model = load_spm(output / "spm.model")
    write_lines(output / "dict.txt", dictionary_lines(model))
    counts = {}
    for split in SPLITS:
        paths = [output / "subword" / f"{split}.{language}" for language in languages]
        counts[split] = write_subwords(split, blocks[split], paths)
        if not counts[split]["rows"]:
            shutil.rmtree(output / "parts")
            raise UserError(f"{text[split]}: every row has an empty side, nothing is left; give parallel text")
    made = None if data_bin is None else write_databin(data_bin, languages, output / "dict.txt", blocks)
    names = ["spm.model", "dict.txt", *(f"subword/{split}.{side}" for split in SPLITS for side in languages)]
    report = {
        "languages": languages,
        "spm_model_sha256": file_hash(output / "spm.model"),
        "vocabulary": model.get_piece_size(),
        "sample": settings["sample"],
        "splits": counts,
        "made_from": settings,
        "sha256": {name: file_hash(output / name) for name in names},
        # Another text may be prepared into the same data-bin later.
        "data_bin": made,
        "versions": versions(),
    }
    write_json(output / REPORT, report)
    shutil.rmtree(output / "parts")
    return report
