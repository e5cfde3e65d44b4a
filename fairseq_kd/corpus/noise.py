"""Misalign a share of the training pairs.

Misaligned sentences are one of the kinds of noise that Khayrallah & Koehn 2018 (https://aclanthology.org/W18-2709) find
in crawled text and add to clean text. The targets stay the same lines, so vocabulary and lengths do not change.
"""

from collections.abc import Sequence
from pathlib import Path
from random import Random

from fairseq_kd.corpus.parallel_text import SPLITS, read_pair, write_lines
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import write_json


def misalign(targets: Sequence[str], share: float, seed: int) -> list[str]:
    """A copy of ``targets`` in which round(share × rows) rows have changed places, so that each has another's target.

    Rows that a smaller share of the same seed misaligns, a larger share misaligns too.

    Raises:
        UserError: the share is not from 0 to 1, or it comes to a single row, which cannot change places.
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


def add_noise(text: Path, output: Path, languages: tuple[str, str], share: float, seed: int = 1) -> int:
    """Copy parallel text with a share of its training pairs misaligned, and write ``noise.json`` last.

    Args:
        text: folder with ``{train,valid,test}.{SOURCE,TARGET}``.
        output: another folder, which gets the same files.
        languages: of source and target, the endings of the files.
        share: of the training rows, from 0 to 1.
        seed: decides which rows.

    Returns:
        How many training rows have another line as their target; equal lines that changed places do not count.

    Raises:
        UserError: as :func:`misalign` and :func:`fairseq_kd.corpus.parallel_text.read_pair`, or ``output`` is ``text``.
    """
    if output.resolve() == text.resolve():
        raise UserError(f"--output {output}: it is the input; give another folder, so that a rerun starts clean")
    pairs = {split: read_pair(text / split, languages) for split in SPLITS}
    source, target = pairs["train"]
    pairs["train"] = (source, misalign(target, share, seed))
    for split, pair in pairs.items():
        for language, lines in zip(languages, pair, strict=True):
            write_lines(output / f"{split}.{language}", lines)
    moved = sum(map(str.__ne__, pairs["train"][1], target))
    write_json(output / "noise.json", {"share": share, "seed": seed, "other_targets": moved})
    return moved
