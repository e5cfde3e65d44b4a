"""Tiny corpora."""

import random
from pathlib import Path

from tests.support.commands import run_command


def translated(words: list[str]) -> list[str]:
    """The last word first; s0 is left out (but of nothing else remains t0), s1, s2 and s3 become two words.

    So targets are longer and shorter than their sources: what mixes up the two sides, or their lengths, is seen.
    """
    target: list[str] = []
    for word in reversed(words):
        number = int(word[1:])
        target += [f"t{number}", "t0"][: 0 if number == 0 else 2 if number <= 3 else 1]
    return target or ["t0"]


def write_text(folder: Path, rows: dict[str, int], seed: int = 1) -> None:
    """Sentences and their :func:`translated`, so few and short that a small model learns something of them."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in rows.items():
        sources = [
            [f"s{min(draw.randrange(20), draw.randrange(20))}" for _ in range(draw.randint(3, 9))] for _ in range(count)
        ]
        targets = [translated(words) for words in sources]
        for side, lines in (("src", sources), ("tgt", targets)):
            (folder / f"{split}.{side}").write_text("".join(" ".join(line) + "\n" for line in lines))


def binarise(text: Path, output: Path, *options: str) -> Path:
    """fairseq-preprocess of what :func:`write_text` wrote."""
    prefixes = ["--trainpref", text / "train", "--validpref", text / "valid", "--testpref", text / "test"]
    run_command("fairseq-preprocess", "-s", "src", "-t", "tgt", *prefixes, "--destdir", output, *options)
    return output
