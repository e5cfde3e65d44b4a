"""A gate's course from fairseq-train's own logs."""

from pathlib import Path

import pytest

from fairseq_kd.cli.named_files import named_files
from fairseq_kd.errors import UserError
from fairseq_kd.report.gate_plot import read_course, write_gates
from tests.support.training import train_command

TASK = ("--task", "translation_kd", "--criterion", "hybrid_kd")


@pytest.mark.parametrize("form", ["simple", "json"])
def test_a_schedules_course_is_read_from_its_log(
    tiny_corpus: Path, tiny_teacher: Path, distilled: Path, tmp_path: Path, form: str
) -> None:
    options = ["--teacher-path", str(tiny_teacher), "--distilled-data", str(distilled), "--log-format", form]
    options += ["--gate", "schedule", "--gate-updates", "4", "--gate-start", "0.2", "--gate-end", "0.6"]
    done = train_command(tiny_corpus, tmp_path / "run", *TASK, *options)
    log = tmp_path / "train.log"
    log.write_text(done.stdout + done.stderr)
    course = read_course(log)
    assert list(course) == [1, 2, 3, 4]
    assert [mean for mean, _ in course.values()] == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert all(sd == 0 for _, sd in course.values())
    epochs = [line for line in log.read_text().splitlines() if "| train_inner |" not in line]
    (tmp_path / "epochs.log").write_text("\n".join(epochs))
    assert all(0.2 < mean < 0.5 and sd > 0 for mean, sd in read_course(tmp_path / "epochs.log").values())
    files = named_files("--gate-log", [f"schedule={log}", f"g = 0.5={log}"])
    assert files == {"schedule": str(log), "g = 0.5": str(log)}
    write_gates({name: read_course(Path(path)) for name, path in files.items()}, tmp_path / "gate.png")
    assert (tmp_path / "gate.png").read_bytes().startswith(b"\x89PNG")


def test_a_log_without_a_gate_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("| train_inner | epoch 001: loss=3, num_updates=1, lr=0.01\n")
    for name, message in (("log", "no gate"), ("x", "No such")):
        with pytest.raises(UserError, match=message):
            read_course(tmp_path / name)


@pytest.mark.parametrize("word", ["log", "=log", "a="])
def test_a_word_that_names_no_file_is_one_line(word: str) -> None:
    with pytest.raises(UserError, match=f"--gate-log {word}: give NAME=FILE"):
        named_files("--gate-log", [word])
