"""`fairseq-kd noise`: give a share of the training rows the target of another row.

Misaligned sentences are one of the kinds of noise that Khayrallah & Koehn 2018 (https://aclanthology.org/W18-2709) find
in crawled text and add to clean text. All in all the targets stay the same lines: vocabulary and lengths do not change.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from random import Random

from fairseq_kd.corpus.prepare import SPLITS, read_pair, write_lines
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import write_json


def misalign(targets: Sequence[str], share: float, seed: int) -> list[str]:
    """``targets`` with round(share × rows) of them in each other's place, none of these in its own.

    Rows that a smaller share of the same seed misaligns, a larger one misaligns too.

    Raises:
        UserError: the share is out of range, or a single row that has none to change places with.
    """
    if not 0 <= share <= 1:
        raise UserError(f"--share {share}: give a share from 0 to 1")
    rows = list(range(len(targets)))
    Random(seed).shuffle(rows)
    chosen = rows[: round(share * len(targets))]
    if len(chosen) == 1:
        raise UserError(f"--share {share}: that is one row of {len(targets)}, which cannot change places; give more")
    noisy = list(targets)
    for row, other in zip(chosen, [*chosen[1:], *chosen[:1]], strict=True):
        noisy[row] = targets[other]
    return noisy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fairseq-kd noise`."""
    add = parser.add_argument
    add("--source-lang", required=True, metavar="S", help="source language, the source files' ending")
    add("--target-lang", required=True, metavar="T", help="target language, the target files' ending")
    add("--input", required=True, metavar="DIR", type=Path, help="folder with {train,valid,test}.{S,T}, raw text")
    add("--output", required=True, metavar="DIR", type=Path, help="the same files; train.T is noisy")
    add("--share", required=True, type=float, metavar="P", help="of training rows with another row's target, 0 to 1")
    add("--seed", type=int, default=1, metavar="N", help="decides which (%(default)s)")


def run(options: argparse.Namespace) -> None:
    """Write the text and, last, ``noise.json``.

    Raises:
        UserError: as :func:`misalign` and :func:`fairseq_kd.corpus.prepare.read_pair`, or --output is --input.
    """
    if options.output.resolve() == options.input.resolve():
        raise UserError(f"--output {options.output}: is the input; give another folder, so that a rerun starts clean")
    languages = (options.source_lang, options.target_lang)
    text = {split: read_pair(str(options.input / split), languages) for split in SPLITS}
    source, target = text["train"]
    text["train"] = (source, misalign(target, options.share, options.seed))
    for split, pair in text.items():
        for language, lines in zip(languages, pair, strict=True):
            write_lines(options.output / f"{split}.{language}", lines)
    moved = sum(map(str.__ne__, text["train"][1], target))
    write_json(options.output / "noise.json", {"share": options.share, "seed": options.seed, "other_targets": moved})
