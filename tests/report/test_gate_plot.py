"""A gate's course from fairseq-train's own logs."""

from pathlib import Path

import pytest

from fairseq_kd.errors import UserError
from fairseq_kd.report.gate_plot import read_course, read_courses, write_gates
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
    courses = read_courses([f"schedule={log}", f"g = 0.5={log}"])
    assert list(courses) == ["schedule", "g = 0.5"]
    write_gates(courses, tmp_path / "gate.png")
    assert (tmp_path / "gate.png").read_bytes().startswith(b"\x89PNG")


def test_a_log_without_a_gate_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("| train_inner | epoch 001: loss=3, num_updates=1, lr=0.01\n")
    for option, message in (("log", "NAME=FILE"), (f"a={tmp_path}/log", "no gate"), (f"a={tmp_path}/x", "No such")):
        with pytest.raises(UserError, match=message):
            read_courses([option])
