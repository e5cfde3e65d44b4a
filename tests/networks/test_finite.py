"""A teacher whose answers are NaN or infinite is named, with the rows and the update."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd.corpus.cache import cache
from fairseq_kd.errors import UserError
from tests.support.models import build, edited

TASK = ("--task", "translation_kd", "--criterion", "token_kd")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("part", ["word", "projection"])
def test_training_and_cache_name_teacher_row_and_update(
    part: str, value: float, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    task, model, criterion = build(tiny_corpus, *TASK, "--teacher-path", "x", "--teacher-data", str(tiny_corpus))
    task.load_dataset("train")
    dataset = task.dataset("train")
    rows = [10, 20, 30]
    (word, *_) = (symbol for symbol in dataset.src[20].tolist() if all(symbol not in dataset.src[r] for r in (10, 30)))

    def change(state: dict[str, Any]) -> None:
        name = "encoder.embed_tokens.weight" if part == "word" else "decoder.output_projection.weight"
        state["model"][name] = state["model"][name].clone()
        state["model"][name][word] = value

    task.cfg.teacher_path = str(edited(tiny_teacher, tmp_path, change))
    task.update = 7
    sample = dataset.collater([dataset[row] for row in rows])
    named = "20" if part == "word" else "10, 20, 30"
    told = rf"teacher {task.cfg.teacher_path}: its answer at update 7 is NaN or infinite for rows {named} \(from 0\)"
    with pytest.raises(UserError, match=told):
        criterion(model.train(), sample)
    with pytest.raises(UserError, match=rf"teacher {task.cfg.teacher_path}: its answer is NaN or infinite for rows \d"):
        cache(task.cfg.teacher_path, tiny_corpus, tmp_path / "soft", 4, teacher_data=str(tiny_corpus))
