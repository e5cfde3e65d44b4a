"""A teacher whose file the student's training would replace."""

import shutil
from pathlib import Path

import pytest

from tests.support.training import train_command

TRAINED = ("checkpoint_best.pt", "checkpoint3.pt")


@pytest.mark.parametrize("name", [*TRAINED, "link.pt"])
def test_a_teacher_in_the_students_folder_is_refused(
    name: str, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """fairseq-train would start the student from the teacher, and save the student over it."""
    save = tmp_path / "save"
    save.mkdir()
    kept = [Path(shutil.copy(tiny_teacher, save / one)) for one in ("checkpoint_last.pt", *TRAINED)]
    (tmp_path / "link.pt").symlink_to(save / "checkpoint_best.pt")
    teacher = tmp_path / name if name == "link.pt" else save / name
    words = ("--teacher-path", str(teacher), "--teacher-data", str(tiny_corpus))
    words += ("--task", "translation_kd", "--criterion", "token_kd")
    done = train_command(tiny_corpus, save, *words, check=False)
    told = [line for line in done.stderr.splitlines() if line.startswith("fairseq_kd: error:")]
    assert done.returncode == 1 and len(told) == 1 and "Traceback" not in done.stderr, done.stderr
    assert f"--teacher-path {teacher}: this training writes its checkpoints to {save}" in told[0]
    assert all(path.read_bytes() == tiny_teacher.read_bytes() for path in kept)


def test_a_file_that_no_training_writes_may_lie_there(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    save = tmp_path / "save"
    save.mkdir()
    teacher = shutil.copy(tiny_teacher, save / "teacher.pt")
    words = ("--teacher-path", teacher, "--teacher-data", str(tiny_corpus), "--max-update", "1")
    train_command(tiny_corpus, save, *words, "--task", "translation_kd", "--criterion", "token_kd")
