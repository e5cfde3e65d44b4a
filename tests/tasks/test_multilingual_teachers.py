"""Teachers of fairseq's multilingual tasks and bilingual students, by real commands."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fairseq_kd.corpus.distilled.decode import decode
from fairseq_kd.decoding.options import DecodingOptions
from tests.support.commands import run_command
from tests.support.multilingual import generated, train_teacher, write_data
from tests.support.shared import made_once
from tests.support.training import losses, train_command

SHORT = DecodingOptions(max_len_b=12)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "multilingual", write_data)


@pytest.fixture(scope="session")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The teacher of a kind; it is trained when it is first asked for."""

    def trained(kind: str) -> Path:
        folder = made_once(tmp_path_factory, f"multi-{kind}", lambda new: train_teacher(data, new, kind))
        return folder / "checkpoint_last.pt"

    return trained


@pytest.mark.parametrize("kind", ["source", "both", "replacing", "mbart"])
def test_decode_gives_what_fairseq_generate_gives(
    data: Path, teacher: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    decode(str(teacher(kind)), data / "de", tmp_path, SHORT, subset="test")
    found = (tmp_path / "test.de").read_text().splitlines()
    assert found == generated(data, teacher(kind), kind)
    # It has learnt which language a token asks for: German words begin with d.
    words = " ".join(found).split()
    assert words and sum(word.startswith("d") for word in words) >= 0.9 * len(words)


def test_another_language_can_be_asked_for(data: Path, teacher: Callable[[str], Path], tmp_path: Path) -> None:
    words = ("--model", teacher("both"), "--data", data / "de", "--subset", "test", "--output", tmp_path)
    run_command("fairseq-kd", "decode", *words, "--max-len-b", "12", "--teacher-target-lang", "fr")
    found = (tmp_path / "test.de").read_text().splitlines()
    assert found == generated(data, teacher("both"), "both", "fr")
    assert any("f" in line for line in found)
    # The same output cannot be continued in another language.
    done = run_command("fairseq-kd", "decode", *words, "--max-len-b", "12", check=False)
    assert done.returncode and "model_tokens" in done.stderr


@pytest.mark.parametrize("kind", ["source", "mbart"])
def test_a_bilingual_student_learns_from_it(
    data: Path, teacher: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    """By token_kd from the live teacher and from a cache, which begin alike, and by f_distill and hybrid_kd."""
    kd = ("--task", "translation_kd", "--criterion", "token_kd", "--kd-alpha", "1", "--kd-top-k", "5")
    alive = train_command(data / "de", tmp_path / "alive", *kd, "--teacher-path", str(teacher(kind)))
    told = losses(alive.stdout + alive.stderr, "kd_loss")
    assert told[-1] < told[0]
    words = ("--model", teacher(kind), "--data", data / "de", "--output", tmp_path / "cache", "--top-k", "5")
    run_command("fairseq-kd", "cache", *words)
    cached = train_command(data / "de", tmp_path / "cached", *kd, "--teacher-cache", str(tmp_path / "cache"))
    assert losses(cached.stdout + cached.stderr, "kd_loss") == pytest.approx(told, abs=2e-3)
    both = (
        "--teacher-cache",
        str(tmp_path / "cache"),
        "--teacher-path",
        str(teacher(kind)),
        "--teacher-target-lang",
        "fr",
    )
    done = train_command(data / "de", tmp_path / "other", *kd, *both, check=False)
    assert "its teacher read 'de' as the target language, --teacher-target-lang is 'fr'" in done.stderr
    sequence = ("--task", "translation_kd", "--teacher-path", str(teacher(kind)), "--distilled-data", str(data / "de"))
    for criterion in (("hybrid_kd",), ("f_distill", "--online-teacher-samples")):
        options = ("--criterion", *criterion, *sequence[: 4 if len(criterion) > 1 else 6], "--max-update", "2")
        done = train_command(data / "de", tmp_path / criterion[0], *options)
        assert losses(done.stdout + done.stderr, "loss")


def test_a_multilingual_student_learns_from_it(data: Path, teacher: Callable[[str], Path], tmp_path: Path) -> None:
    pairs = ("--lang-pairs", "en-de,en-fr", "--langs", "en,de,fr", "--sampling-method", "temperature")
    tags = ("--encoder-langtok", "src", "--decoder-langtok", "--lang-tok-style", "mbart")
    task = ("--task", "translation_multi_simple_epoch_kd", *pairs, "--teacher-path", str(teacher("both")))
    token = ("--criterion", "token_kd", "--kd-alpha", "1", "--max-update", "12")
    done = train_command(data / "both", tmp_path / "student", *task, *tags, *token)
    told = losses(done.stdout + done.stderr, "kd_loss")
    assert told[-1] < told[0]
    # The student is an ordinary multilingual model.
    assert len(generated(data, tmp_path / "student" / "checkpoint_last.pt", "both", "fr")) == 30
    # Other tokens than the teacher's, and a criterion that does not know them, are refused.
    for wrong, said in (
        ((*token, "--encoder-langtok", "tgt"), "has langtoks"),
        ((*tags, "--criterion", "f_distill"), "give --criterion token_kd"),
    ):
        done = train_command(data / "both", tmp_path / "refused", *task, *wrong, check=False)
        assert done.returncode and said in done.stdout + done.stderr
