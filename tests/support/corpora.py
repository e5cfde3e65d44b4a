"""Tiny corpora."""

import random
from pathlib import Path

from tests.support.commands import run_command


def write_text(folder: Path, rows: dict[str, int], seed: int = 1) -> None:
    """Word-for-word 'translations' with a swap, short enough that a small model learns something of them."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in rows.items():
        sources = [
            [f"s{min(draw.randrange(20), draw.randrange(20))}" for _ in range(draw.randint(3, 9))] for _ in range(count)
        ]
        targets = [[word.replace("s", "t") for word in reversed(words)] for words in sources]
        for side, lines in (("src", sources), ("tgt", targets)):
            (folder / f"{split}.{side}").write_text("".join(" ".join(line) + "\n" for line in lines))


def binarise(text: Path, output: Path, *options: str) -> Path:
    """fairseq-preprocess of what :func:`write_text` wrote."""
    prefixes = ["--trainpref", text / "train", "--validpref", text / "valid", "--testpref", text / "test"]
    run_command("fairseq-preprocess", "-s", "src", "-t", "tgt", *prefixes, "--destdir", output, *options)
    return output
