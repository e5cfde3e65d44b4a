"""fairseq-train with a teacher of other subwords."""

import shutil
from pathlib import Path

import pytest

from tests.support.commands import PLUGIN, run_command
from tests.support.models import assert_same_weights
from tests.support.training import losses, train_command, train_model, train_on_two_processes


def kd(folder: Path, kind: str, *options: str) -> tuple[str, ...]:
    teacher = folder / "teacher"
    words = ("--task", "translation_kd", "--criterion", "token_kd", "--teacher-vocabulary", kind)
    words += ("--teacher-path", str(teacher / "checkpoint_last.pt"), "--teacher-spm", str(teacher / "spm.model"))
    return (*words, *options)


@pytest.mark.parametrize(("kind", "data"), [("aligned", "student"), ("aligned", "words"), ("uld", "student")])
def test_a_student_comes_closer_to_its_teacher(two_vocabularies: Path, tmp_path: Path, kind: str, data: str) -> None:
    options = kd(two_vocabularies, kind, "--max-update", "30", "--kd-alpha", "0.9", "--num-workers", "1")
    options += ("--student-post-process", "none") if data == "words" else ()
    done = train_command(two_vocabularies / data / "data-bin", tmp_path, *options)
    log = done.stdout + done.stderr
    for key in ("kd_loss", "span_loss") if kind == "aligned" else ("uld_loss",):
        series = losses(log, key)
        assert series[-1] < series[0], key
    assert all(0 < share < 1 for share in losses(log, "one_to_one"))
    assert set(losses(log, "unaligned")) == {0.0}
    assert "100.0% of the rows have the student's characters" in log


@pytest.mark.parametrize("kind", ["aligned", "uld"])
def test_update_freq_and_two_processes_give_one_gradient(two_vocabularies: Path, tmp_path: Path, kind: str) -> None:
    """One SGD step over the same two batches, accumulated or shared out."""
    data = two_vocabularies / "student" / "data-bin"
    options = kd(two_vocabularies, kind, "--optimizer", "sgd", "--max-update", "1", "--disable-validation")
    options += ("--dropout", "0", "--lr", "1.0", "--clip-norm", "0")
    accumulated = train_model(data, tmp_path / "accumulated", *options, "--update-freq", "2")
    shared = train_on_two_processes(data, tmp_path / "two", *options)
    assert_same_weights(accumulated, shared, rtol=1e-4, atol=1e-6)


def test_resume_gives_the_parameters_of_an_unbroken_run(two_vocabularies: Path, tmp_path: Path) -> None:
    data = two_vocabularies / "student" / "data-bin"
    options = kd(two_vocabularies, "aligned", "--dropout", "0.2", "--label-smoothing", "0.1")
    unbroken = train_model(data, tmp_path / "unbroken", *options, "--max-update", "9")
    train_model(data, tmp_path / "broken", *options, "--max-update", "4")
    broken = train_model(data, tmp_path / "broken", *options, "--max-update", "9")
    assert_same_weights(unbroken, broken, rtol=0, atol=0)


def test_a_student_needs_no_teacher_any_more(two_vocabularies: Path, tmp_path: Path) -> None:
    """fairseq-validate and fairseq-generate after teacher and sentencepiece model are gone."""
    folder = tmp_path / "made"
    shutil.copytree(two_vocabularies, folder)
    data = folder / "student" / "data-bin"
    student = train_model(data, tmp_path / "student", *kd(folder, "aligned", "--max-update", "2"))
    shutil.rmtree(folder / "teacher")
    words = (data, "--path", student, "--user-dir", PLUGIN, "--cpu")
    done = run_command("fairseq-validate", *words, "--task", "translation_kd", "--max-tokens", "400")
    assert "validating the gold part of the loss alone" in done.stdout + done.stderr
    assert (
        run_command(
            "fairseq-generate", *words, "--gen-subset", "test", "--required-batch-size-multiple", "1"
        ).stdout.count("H-")
        == 20
    )


def test_a_source_that_is_too_long_for_the_teacher(two_vocabularies: Path, tmp_path: Path) -> None:
    """The training goes on with the row's gold target, and says so."""
    teacher = two_vocabularies / "teacher"
    short = train_model(
        teacher / "data-bin",
        tmp_path / "short",
        "--max-update",
        "1",
        "--max-source-positions",
        "9",
        "--skip-invalid-size-inputs-valid-test",
    )
    options = (
        *kd(two_vocabularies, "aligned"),
        "--teacher-path",
        str(short),
        "--teacher-data",
        str(teacher / "data-bin"),
    )
    done = train_command(two_vocabularies / "student" / "data-bin", tmp_path / "save", *options, "--max-update", "6")
    log = done.stdout + done.stderr
    assert log.count("a row is longer in the teacher's pieces than its positions") == 1
    assert all(0 <= share <= 1 for share in losses(log, "too_long")) and max(losses(log, "too_long")) > 0
