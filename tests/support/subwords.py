"""Corpora whose rows are cut by sentencepiece, and what tests read back from data-bins."""

import random
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from fairseq_kd import cli
from fairseq_kd.data.databins.databin import open_databin
from tests.support.commands import run_command

SYLLABLES = ("ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su", "ta", "ve")


def write_syllables(folder: Path, rows: dict[str, int], seed: int = 1, syllables: tuple[str, ...] = SYLLABLES) -> Path:
    """Words of two or three syllables; the 'translation' has the words backwards, with capitals and full stops."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    words = ["".join(draw.choices(syllables, k=draw.randint(2, 3))) for _ in range(60)]
    for split, count in rows.items():
        sources = [draw.choices(words, k=draw.randint(3, 8)) for _ in range(count)]
        for side, lines in (("src", sources), ("tgt", [line[::-1] for line in sources])):
            texts = [" ".join(line).capitalize() + ("." if side == "tgt" else " !") for line in lines]
            (folder / f"{split}.{side}").write_text("".join(text + "\n" for text in texts))
    return folder


def cut(text: Path, output: Path, vocab_size: int) -> Path:
    """A data-bin with one sentencepiece dictionary for both sides; ``spm.model`` lies beside it."""
    prefixes = [word for split in ("train", "valid", "test") for word in (f"--{split}", str(text / split))]
    words = ["--source-lang", "src", "--target-lang", "tgt", *prefixes, "--vocab-size", str(vocab_size)]
    cli.main(["prepare", *words, "--output", str(output)])
    subword, new = output / "subword", output / "data-bin"
    preprocessed = ["-s", "src", "-t", "tgt", "--srcdict", output / "dict.txt", "--joined-dictionary", "--destdir", new]
    splits = ["--trainpref", subword / "train", "--validpref", subword / "valid", "--testpref", subword / "test"]
    run_command("fairseq-preprocess", *preprocessed, *splits)
    return new


def lines_of(data: Path, split: str) -> list[list[str]]:
    """The subword lines of both sides of a data-bin's split."""
    task = open_databin(data, split)
    pairs = task.dataset(split)
    both = ((pairs.src, task.source_dictionary), (pairs.tgt, task.target_dictionary))
    return [[dictionary.string(rows[row]) for row in range(len(rows))] for rows, dictionary in both]


def spm_of_symbols(path: Path, symbols: Sequence[str]) -> Path:
    """A sentencepiece model that has these symbols as pieces; ``path`` ends in ``.model``."""
    text = path.with_suffix(".txt")
    text.write_text("".join(f"{symbol}\n" for symbol in [*symbols, "qx"]), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(path.with_suffix("")), vocab_size=len(symbols) + 20, minloglevel=2,
        model_type="char", user_defined_symbols=list(symbols), hard_vocab_limit=False,
    )  # fmt: skip
    text.unlink()
    path.with_suffix(".vocab").unlink()
    return path
