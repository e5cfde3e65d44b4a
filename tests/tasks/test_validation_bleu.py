"""The BLEU of ``--eval-bleu``, by which ``checkpoint_best.pt`` is chosen."""

import random
import re
from pathlib import Path

import pytest

from tests.support.corpora import binarise
from tests.support.training import train_command

CHINESE = "▁ 今天 北京 的 天气 很好 。"
THAI = "▁ วัน นี้ อากาศ ดี มาก"
GERMAN = "▁Das ▁Wetter ▁ist ▁heute ▁gut ."
BY_BLEU = ("--task", "translation_kd", "--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_b": 12}')
BY_BLEU += ("--eval-bleu-remove-bpe", "sentencepiece", "--best-checkpoint-metric", "bleu")
BY_BLEU += ("--maximize-best-checkpoint-metric", "--dropout", "0", "--required-batch-size-multiple", "1")


def data_of(folder: Path, train: str, valid: str) -> Path:
    """A data-bin in which each split has one target for all sources."""
    draw = random.Random(1)
    for split, target, rows in (("train", train, 40), ("valid", valid, 12), ("test", valid, 4)):
        sources = [" ".join(draw.choices(["s1", "s2", "s3"], k=4)) for _ in range(rows)]
        (folder / f"{split}.src").write_text("".join(f"{line}\n" for line in sources), encoding="utf-8")
        (folder / f"{split}.tgt").write_text(f"{target}\n" * rows, encoding="utf-8")
    dictionary = "".join(f"{word} 1\n" for word in dict.fromkeys(["s1", "s2", "s3", *f"{train} {valid}".split()]))
    (folder / "dict.txt").write_text(dictionary, encoding="utf-8")
    given = str(folder / "dict.txt")
    return binarise(folder, folder / "data-bin", "--srcdict", given, "--tgtdict", given)


def bleus(log: str) -> list[float]:
    """The validation BLEU of each epoch."""
    return [float(found) for found in re.findall(r"\| valid \| .*?\| bleu (\S+)", log)]


@pytest.mark.parametrize(("target", "tokenizer"), [(CHINESE, "zh"), (THAI, "char"), (GERMAN, "")])
def test_words_are_those_of_the_language(target: str, tokenizer: str, tmp_path: Path) -> None:
    """fairseq cuts at spaces, takes a Chinese sentence for one word, and then has a BLEU of 0 for a right one."""
    data = data_of(tmp_path, target, target)
    done = train_command(data, tmp_path / "run", *BY_BLEU, "--max-epoch", "25", "--max-update", "0")
    log = done.stdout + done.stderr
    assert bleus(log)[-1] == 100 and len(bleus(log)) == 25
    told = [line for line in log.splitlines() if "validation BLEU" in line]
    assert len(told) == bool(tokenizer)
    assert not tokenizer or f"takes sacreBLEU's tokenizer {tokenizer}" in told[0]


def test_subwords_are_counted_as_before(tmp_path: Path) -> None:
    data = data_of(tmp_path, CHINESE, CHINESE)
    words = [word for word in BY_BLEU if word not in ("--eval-bleu-remove-bpe", "sentencepiece")]
    done = train_command(
        data, tmp_path / "run", *words, "--eval-tokenized-bleu", "--max-epoch", "25", "--max-update", "0"
    )
    log = done.stdout + done.stderr
    assert bleus(log)[-1] == 100 and "validation BLEU" not in log


def test_a_student_that_writes_nothing_has_a_bleu_of_0(tmp_path: Path) -> None:
    """fairseq logs no BLEU then, and --best-checkpoint-metric bleu ended in a KeyError after the first epoch."""
    data = data_of(tmp_path, "", GERMAN)
    done = train_command(data, tmp_path / "run", *BY_BLEU, "--max-epoch", "3", "--max-update", "0", "--lr", "0.1")
    assert bleus(done.stdout + done.stderr) == [0, 0, 0]
    assert (tmp_path / "run" / "checkpoint_best.pt").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--eval-bleu-args", '{"beam": 1, "max-len-b": 12}'), "knows no 'max-len-b'; did you mean max_len_b?"),
        (("--eval-bleu-args", "{beam: 1}"), "--eval-bleu-args {beam: 1}: no JSON map"),
        (("--eval-bleu-args", "5"), "--eval-bleu-args 5: no JSON map"),
        (("--eval-bleu-detok", "moses", "--eval-bleu-detok-args", "en"), "--eval-bleu-detok-args en: no JSON map"),
    ],
)  # fmt: skip
def test_arguments_that_fairseq_would_ignore_or_cannot_read(
    words: tuple[str, ...], told: str, tiny_corpus: Path, tmp_path: Path
) -> None:
    done = train_command(tiny_corpus, tmp_path / "run", *BY_BLEU, *words, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("fairseq_kd: error:")]
    assert done.returncode == 1 and len(errors) == 1 and told in errors[0] and "Traceback" not in done.stderr, (
        done.stderr
    )
