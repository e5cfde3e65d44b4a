"""A multilingual student and a teacher of the same kind, in one process."""

from pathlib import Path

import pytest
import torch

from fairseq_kd.errors import UserError
from tests.support.models import batch, build
from tests.support.multilingual import KINDS, untrained, write_data
from tests.support.shared import made_once

ROWS = [0, 1, 2, 30, 31]
"""Of the validation set: en-de, then en-fr."""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "multilingual", write_data)


def options(kind: str, teacher: Path) -> tuple[str, ...]:
    kd = ("--task", "translation_multi_simple_epoch_kd", "--criterion", "token_kd", "--kd-alpha", "0.7")
    return (*KINDS[kind][2:], *kd, "--kd-temperature", "2", "--teacher-path", str(teacher))


@pytest.mark.parametrize("kind", ["both", "replacing"])
def test_the_loss_is_the_formula_on_the_teachers_own_batches(data: Path, tmp_path: Path, kind: str) -> None:
    task, student, criterion = build(data / "both", *options(kind, untrained(data, tmp_path, kind)))
    found = criterion(student.train(), batch(task, "valid", ROWS))[0].item()
    teacher, own, expected = task.teacher(student).models[0], build(data / "both", *KINDS[kind])[0], 0.0
    for row in ROWS:
        sample = batch(own, "valid", [row])
        with torch.no_grad():
            logits = [model.double()(**sample["net_input"])[0][0] for model in (teacher, student)]
        gold = sample["target"][0][:, None]
        hard = -logits[1].log_softmax(-1).gather(1, gold).sum().item()
        soft = -((logits[0] / 2).softmax(-1) * (logits[1] / 2).log_softmax(-1)).sum().item()
        expected += 0.3 * hard + 0.7 * 4 * soft
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_teacher_with_other_tokens_is_refused(data: Path, tmp_path: Path) -> None:
    task, student, criterion = build(data / "both", *options("both", untrained(data, tmp_path, "replacing")))
    with pytest.raises(UserError, match=r"has langtoks .* train it like the teacher"):
        criterion(student.train(), batch(task, "valid", [0]))


def test_a_bilingual_teacher_is_refused(data: Path, tmp_path: Path) -> None:
    task, student, criterion = build(data / "both", *options("both", untrained(data, tmp_path, "mbart")))
    with pytest.raises(UserError, match="cannot teach a multilingual student"):
        criterion(student.train(), batch(task, "valid", [0]))
