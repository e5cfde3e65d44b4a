"""A language pair cut into subwords twice: few for a student, more for a teacher."""

import random
import shutil
from pathlib import Path

from fairseq_kd.corpus.preparation.prepare import prepare
from tests.support.corpora import binarise
from tests.support.training import AT_THE_END, train_model

STUDENT, TEACHER = "student", "teacher"
PIECES = {STUDENT: 60, TEACHER: 90}
SYLLABLES = [f"{consonant}{vowel}" for consonant in "bdfgklmnprst" for vowel in "aeiou"]


def write_words(folder: Path, rows: dict[str, int], seed: int = 1) -> None:
    """Word-for-word 'translations', reversed; each word has one to four syllables."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(60)]
    other = {word: "".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for word in words}
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in rows.items():
        sources = [[words[int(60 * draw.random() ** 2)] for _ in range(draw.randint(2, 6))] for _ in range(count)]
        targets = [[other[word] for word in reversed(line)] for line in sources]
        for side, lines in (("src", sources), ("tgt", targets)):
            (folder / f"{split}.{side}").write_text("".join(" ".join(line) + "\n" for line in lines))


def make_two_vocabularies(folder: Path) -> None:
    """``text``; ``student`` and ``teacher`` with ``spm.model`` and ``data-bin``; ``teacher/checkpoint_last.pt``.

    ``equal`` has the student's pieces in another order in its dictionary, and a teacher of its own; ``words`` the
    text's words as a student's symbols.
    """
    text = folder / "text"
    write_words(text, {"train": 300, "valid": 40, "test": 20})
    prefixes = {split: text / split for split in ("train", "valid", "test")}
    for name, size in PIECES.items():
        prepare(prefixes, ("src", "tgt"), folder / name, vocab_size=size)
        dictionary = str(folder / name / "dict.txt")
        binarise(
            folder / name / "subword", folder / name / "data-bin", "--srcdict", dictionary, "--tgtdict", dictionary
        )
    equal = folder / "equal"
    equal.mkdir()
    shutil.copy(folder / STUDENT / "spm.model", equal)
    lines = (folder / STUDENT / "dict.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    random.Random(2).shuffle(lines)
    (equal / "dict.txt").write_text("".join(lines), encoding="utf-8")
    dictionary = str(equal / "dict.txt")
    binarise(folder / STUDENT / "subword", equal / "data-bin", "--srcdict", dictionary, "--tgtdict", dictionary)
    binarise(text, folder / "words" / "data-bin")
    train_model(folder / TEACHER / "data-bin", folder / TEACHER, "--max-update", "150", *AT_THE_END)
