"""--gate-token-prefixes distilled: both losses of hybrid_kd on the teacher's output."""

from pathlib import Path

import pytest
import torch
from fairseq import utils

from fairseq_kd.corpus.cache import cache
from fairseq_kd.errors import UserError
from tests.support.hybrid import ROWS, TASK, loss_and_gradient, setup
from tests.support.models import batch, build

DISTILLED = ("--gate-token-prefixes", "distilled")


@pytest.mark.parametrize(
    "options",
    [
        ("--label-smoothing", "0.1"),
        ("--kd-alpha", "1"),
        ("--kd-alpha", "0.8", "--kd-temperature", "2", "--kd-top-k", "4", "--label-smoothing", "0.1"),
    ],
)
@pytest.mark.parametrize("gate", ["fixed", "by token", "teacher_entropy by token"])
def test_it_is_the_hybrid_on_a_data_bin_whose_gold_is_the_teachers_output(
    tiny_corpus: Path, distilled: Path, gate: str, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the other reading computes the same, with a forward and a pass over the vocabulary for each loss."""
    # fairseq's attention has its softmax in float32, whose noise depends on the processor.
    monkeypatch.setattr(utils, "softmax", lambda scores, dim, onnx_trace=False: scores.softmax(dim))
    found = []
    for data, reading in ((tiny_corpus, DISTILLED), (distilled, ())):
        task, model, criterion = setup(data, distilled, gate, *options, *reading, dtype=torch.float64)
        found.append(loss_and_gradient(model.eval(), criterion, [batch(task, "train", ROWS)]))
    assert found[0][:2] == pytest.approx(found[1][:2], rel=1e-6)
    torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("student", ["transformer", "lstm", "fconv"])
@pytest.mark.parametrize("gate", ["free", "held_out"])
def test_a_batch_is_the_sum_of_its_sentences(tiny_corpus: Path, distilled: Path, gate: str, student: str) -> None:
    if gate == "held_out" and student != "transformer":
        pytest.skip("the signal reads the output layer")
    task, model, criterion = setup(tiny_corpus, distilled, gate, *DISTILLED, student=student)
    criterion.after_update([criterion(model, batch(task, "train", [5, 6]))[2]])
    whole = loss_and_gradient(model, criterion, [batch(task, "train", ROWS)])
    parts = loss_and_gradient(model, criterion, [batch(task, "train", [row]) for row in ROWS])
    assert whole[:2] == pytest.approx(parts[:2], rel=1e-5)
    torch.testing.assert_close(whole[2], parts[2], rtol=1e-3, atol=1e-4)


def test_models_are_asked_once(tiny_corpus: Path, distilled: Path) -> None:
    task, model, criterion = setup(tiny_corpus, distilled, "free", *DISTILLED)
    shapes: dict[str, list[torch.Size]] = {"student": [], "teacher": []}
    for name, one in (("student", model), ("teacher", task._teacher.models[0])):
        one.decoder.register_forward_hook(lambda _m, inputs, _o, name=name: shapes[name].append(inputs[0].shape))
    sample = batch(task, "train", ROWS)
    _, _, log = criterion(model, sample)
    assert shapes["student"] == shapes["teacher"] == [sample["distilled"].shape]
    assert log["kd_ntokens"] == log["sentence_tokens"] == log["seen_tokens"]


def test_a_cache_of_the_distilled_data_bin_serves_it(
    tiny_corpus: Path, tiny_teacher: Path, distilled: Path, tmp_path: Path
) -> None:
    cache(str(tiny_teacher), distilled, tmp_path, 4, subset="train", teacher_data=str(tiny_corpus))
    shared = (*TASK, "--criterion", "hybrid_kd", "--distilled-data", str(distilled), "--gate", "teacher_entropy")
    live = ("--teacher-path", str(tiny_teacher), "--teacher-data", str(tiny_corpus), "--kd-top-k", "4")
    found = []
    for option in (("--teacher-cache", str(tmp_path)), live):
        task, model, criterion = build(tiny_corpus, *shared, *DISTILLED, *option)
        found.append(criterion(model.train(), batch(task, "train", ROWS))[2])
    for name in ("sentence_nll", "kd_loss"):
        assert found[0][name].item() == pytest.approx(found[1][name].item(), rel=1e-3)


def test_soft_targets_of_the_teachers_output_are_none_of_the_gold_targets(
    tiny_corpus: Path, tiny_teacher: Path, distilled: Path, tmp_path: Path
) -> None:
    """Validation of the training set is on gold targets."""
    cache(str(tiny_teacher), distilled, tmp_path, 4, subset="train", teacher_data=str(tiny_corpus))
    shared = (*TASK, "--criterion", "hybrid_kd", "--distilled-data", str(distilled), "--gate", "fixed", *DISTILLED)
    task, model, criterion = build(tiny_corpus, *shared, "--teacher-cache", str(tmp_path))
    sample = batch(task, "train", ROWS)
    assert sample["distilled"].ne(task.target_dictionary.pad()).sum() != sample["ntokens"]
    _, size, log = criterion.eval()(model.eval(), sample)
    assert log["nll_loss"] == log["loss"] and size == sample["ntokens"]
    assert "kd_loss" not in log


@pytest.mark.parametrize("prefixes", ["gold", "distilled"])
def test_a_cache_of_the_other_data_bin_is_refused(
    tiny_corpus: Path, tiny_teacher: Path, distilled: Path, tmp_path: Path, prefixes: str
) -> None:
    wanted, other = (tiny_corpus, distilled) if prefixes == "gold" else (distilled, tiny_corpus)
    cache(str(tiny_teacher), other, tmp_path, 4, subset="train", teacher_data=str(tiny_corpus))
    words = (*TASK, "--criterion", "hybrid_kd", "--distilled-data", str(distilled), "--teacher-cache", str(tmp_path))
    task, _, _ = build(tiny_corpus, *words, "--gate-token-prefixes", prefixes)
    with pytest.raises(UserError, match=f"belong to other data.*write those of {wanted} with"):
        task.load_dataset("train")


def test_rows_whose_distilled_target_is_too_long_are_left_out(tiny_corpus: Path, distilled: Path) -> None:
    """The length of the gold target alone says nothing of what the student is asked about."""
    task, _, _ = setup(tiny_corpus, distilled, "fixed", *DISTILLED)
    task.load_dataset("train")
    dataset = task.dataset("train")
    kept, ignored = dataset.filter_indices_by_size(dataset.ordered_indices(), (1024, 6))
    assert 0 < len(kept) < len(dataset) and len(kept) + len(ignored) == len(dataset)
    assert all(max(len(dataset.tgt[row]), len(dataset.distilled.tgt[row])) <= 6 for row in kept)
    assert any(len(dataset.tgt[row]) <= 6 for row in ignored)
    assert max(len(dataset.distilled.tgt[row]) for row in kept) == 6  # as long as the limit is not too long
    assert len(dataset.filter_indices_by_size(dataset.ordered_indices(), None)[0]) == len(dataset)
