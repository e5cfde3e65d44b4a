"""Noise in the training text: misaligned pairs, or the tokens of :mod:`fairseq_kd.corpus.token_noise`.

Misaligned sentences are one of the kinds of noise that Khayrallah & Koehn 2018 (https://aclanthology.org/W18-2709) find
in crawled text and add to clean text. The targets stay the same lines, so vocabulary and lengths do not change.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

from fairseq_kd.corpus.parallel_text import SPLITS, read_pair, write_lines
from fairseq_kd.corpus.token_noise import TokenNoise
from fairseq_kd.data.text.unspaced import language_of_uncut
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import write_json

logger = logging.getLogger(__name__)

Kind = Literal["misalign", "tokens"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Misalignment:
    """Noise in which training rows have the targets of other rows.

    Attributes:
        share: of the training rows, from 0 to 1.
    """

    share: float

    def apply(
        self, source: Sequence[str], target: Sequence[str], seed: int
    ) -> tuple[list[str], list[str], dict[str, Any]]:
        """Both sides with the noise, and what ``noise.json`` says of it.

        "other_targets" counts the rows with another line as their target; equal lines that changed places do not count.

        Raises:
            UserError: as :func:`misalign`.
        """
        noisy = misalign(target, self.share, seed)
        moved = sum(map(str.__ne__, noisy, target))
        return list(source), noisy, {"kind": "misalign", "share": self.share, "seed": seed, "other_targets": moved}


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


def add_noise(
    text: Path, output: Path, languages: tuple[str, str], noise: Misalignment | TokenNoise, seed: int = 1
) -> dict[str, Any]:
    """Copy parallel text with noise in its training split, and write ``noise.json`` last.

    Args:
        text: folder with ``{train,valid,test}.{SOURCE,TARGET}``.
        output: another folder, which gets the same files.
        languages: of source and target, the endings of the files.
        noise: what becomes of the training pairs.
        seed: of the random choices.

    Returns:
        The content of ``noise.json``: the noise's "kind", its settings and counts of what it changed.

    Raises:
        UserError: as :func:`misalign` and :func:`fairseq_kd.corpus.parallel_text.read_pair`, or ``output`` is ``text``.
    """
    if output.resolve() == text.resolve():
        raise UserError(f"--output {output}: it is the input; give another folder, so that a rerun starts clean")
    pairs = {split: read_pair(text / split, languages) for split in SPLITS}
    if isinstance(noise, TokenNoise):
        for language, side, lines in zip(languages, ("source", "target"), pairs["train"], strict=True):
            unspaced = language_of_uncut(lines, language)
            if unspaced and noise.side in (side, "both"):
                logger.warning(
                    "%s: %s text has no spaces between words, so that a token is a whole line or phrase; cut it into "
                    "words first, or give --kind misalign",
                    text / f"train.{language}", unspaced,
                )  # fmt: skip
    source, target, facts = noise.apply(*pairs["train"], seed)
    pairs["train"] = (source, target)
    for split, pair in pairs.items():
        for language, lines in zip(languages, pair, strict=True):
            write_lines(output / f"{split}.{language}", lines)
    write_json(output / "noise.json", facts)
    return facts
