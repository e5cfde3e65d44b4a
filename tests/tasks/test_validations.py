"""What a training takes from its validations: when --patience has ended it, and the batches of a learned gate."""

from pathlib import Path

import pytest

from fairseq_kd.tasks import validation_batches, with_teacher
from fairseq_kd.tasks.validation_batches import ValidationBatches
from tests.support.databins import write_databin, write_side
from tests.support.models import build

PAIR = ("en", "de")


@pytest.mark.parametrize(
    ("patience", "without_gain", "ends"),
    [("-1", 0, False), ("-1", 5, False), ("0", 0, False), ("0", 5, False), ("2", 1, False), ("2", 2, True)],
)
def test_patience_ends_a_resumed_training(
    patience: str, without_gain: int, ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As fairseq, where -1 (the default) and 0 mean no --patience."""
    data = write_databin(tmp_path, PAIR, {"train": 4})
    task, model, _ = build(data, "--task", "translation_kd", "--patience", patience)
    monkeypatch.setattr(with_teacher, "validations_without_gain", lambda: without_gain)
    if ends:
        with pytest.raises(SystemExit) as end:
            task.begin_epoch(1, model)
        assert end.value.code == 0
    else:
        task.begin_epoch(1, model)


def test_a_batch_is_limited_by_its_longer_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_databin(tmp_path, PAIR, {"train": 4})
    short, long = ["w1"] * 8, [" ".join(["w2"] * 9)] * 8
    for language, rows in zip(PAIR, (short + long, long + short), strict=True):
        write_side(data / f"valid.en-de.{language}", rows)
    task, model, _ = build(data, "--task", "translation_kd")
    monkeypatch.setattr(validation_batches, "TOKENS", 20)
    found = ValidationBatches(task, "valid", model)
    assert sorted(row for batch in found.batches for row in batch) == list(range(16))
    assert [len(batch) for batch in found.batches] == [2] * 8  # 10 tokens each, with </s>
