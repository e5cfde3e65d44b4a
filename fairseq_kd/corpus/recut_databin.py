"""A data-bin's text cut anew with other subwords: the gold text of a student with another vocabulary."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fairseq_kd.corpus.parallel_text import write_lines
from fairseq_kd.corpus.preparation.subword_model import dictionary_lines, train_spm
from fairseq_kd.corpus.recut import plain
from fairseq_kd.corpus.text_lines import count_lines, stream_lines
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.databins.files import TRAIN, UNNAMED, Languages, choose_pair, only_folder, splits_of
from fairseq_kd.data.text.pieces import load_spm
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import whole_file


def recut_databin(
    data: Path,
    output: Path,
    *,
    vocab_size: int | None = None,
    spm_model: Path | None = None,
    post: str = "sentencepiece",
    more_text: Mapping[Path, str] | None = None,
    languages: Languages = UNNAMED,
) -> dict[str, int]:
    """Cut all splits of a data-bin anew: ``spm.model``, ``dict.txt`` and ``subword/`` as ``fairseq-kd prepare`` writes.

    Args:
        data: the data-bin.
        output: the folder that gets the files.
        vocab_size: train a sentencepiece model of this many pieces on the text of the training split and ``more_text``.
        spm_model: use this sentencepiece model instead; give one of the two.
        post: how the data-bin's subwords are joined.
        more_text: files of subwords that are training text too, and how their subwords are joined.
        languages: source and target, as :func:`fairseq_kd.data.databins.files.choose_pair` takes them.

    Returns:
        The number of rows of each split.

    Raises:
        UserError: the data-bin cannot be used, a split has no target side, or the vocabulary size does not fit.
    """
    pair = choose_pair(data, languages)
    folder = only_folder(data, TRAIN)
    sides = {split: _databin_sides(folder, split, pair, post) for split in splits_of(folder, *pair)}
    if spm_model is not None and vocab_size is None:
        load_spm(spm_model)
        serialised = spm_model.read_bytes()
    elif vocab_size is not None and spm_model is None:
        text = [side() for side in sides[TRAIN]] if TRAIN in sides else []
        more = [(plain(row, how) for row in stream_lines(path)) for path, how in (more_text or {}).items()]
        serialised = train_spm(itertools.chain(*text, *more), vocab_size)
    else:
        raise UserError("give either --vocab-size or --spm-model")
    with whole_file(output / "spm.model", "wb") as handle:
        handle.write(serialised)
    model = load_spm(output / "spm.model")
    write_lines(output / "dict.txt", dictionary_lines(model))
    counts = {}
    for split, rows in sides.items():
        for language, side in zip(pair, rows, strict=True):
            pieces = (" ".join(model.encode(text, out_type=str)) for text in side())
            write_lines(output / "subword" / f"{split}.{language}", pieces)
        counts[split] = count_lines(output / "subword" / f"{split}.{pair[0]}")
    return counts


def _databin_sides(data: Path, split: str, pair: tuple[str, str], post: str) -> list[Callable[[], Iterator[str]]]:
    """The text of both sides of a split; each call starts from the first row."""
    task = open_databin(data, split, pair)
    pairs = task.dataset(split)
    if pairs.tgt is None:
        reason = f"subset {split!r} has no {task.cfg.target_lang} side"
        raise UserError(f"data-bin {data}: {reason}; give a data-bin with both sides")

    def side(rows: Any, dictionary: Any) -> Callable[[], Iterator[str]]:
        return lambda: (plain(dictionary.string(rows[row]), post) for row in range(len(rows)))

    return [side(pairs.src, task.source_dictionary), side(pairs.tgt, task.target_dictionary)]
