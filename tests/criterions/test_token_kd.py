"""The criterion on real models and batches, in one process."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd.errors import UserError
from fairseq_kd.losses.chunk import mean_log_probs
from fairseq_kd.networks.distributions import next_tokens, real_tokens
from fairseq_kd.networks.teacher import Teacher
from tests.support.gradients import assert_slope, gradient
from tests.support.models import ARCHITECTURES, batch, build

KD = ("--task", "translation_kd", "--criterion", "token_kd")


def setup(
    data: Path, *options: str, student: str = "transformer", teacher: str = "transformer"
) -> tuple[Any, Any, Any]:
    """A student, its task and criterion, and a teacher of other weights in the task's hands."""
    task, model, criterion = build(data, *KD, *options, architecture=student)
    _, other, _ = build(data, architecture=teacher, seed=2)
    task._teacher = Teacher([other.eval().requires_grad_(False)])
    return task, model.train(), criterion


def loss_and_gradient(model: Any, criterion: Any, samples: list[dict[str, Any]]) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    losses = [criterion(model, sample)[0] for sample in samples]
    sum(losses).backward()
    return sum(loss.item() for loss in losses), gradient(model)


def expected(task: Any, model: Any, sample: dict[str, Any], alpha: float, tau: float, eps: float) -> float:
    """The loss by a float64 loop over sentences, steps and symbols."""
    answers = []
    for network in (task._teacher.models[0], model):
        logits = network(**sample["net_input"])[0].double().detach()
        answers.append([(logits.log_softmax(-1)).tolist(), ((logits / tau).log_softmax(-1)).tolist()])
    total = 0.0
    pad = task.target_dictionary.pad()
    for sentence, target in enumerate(sample["target"].tolist()):
        for step, gold in enumerate(target):
            if gold == pad:
                continue
            log_q, log_q_tau = (answers[1][kind][sentence][step] for kind in (0, 1))
            log_p_tau = answers[0][1][sentence][step]
            others = eps / (len(log_q) - 1)
            hard = -(1 - eps - others) * log_q[gold] - others * math.fsum(log_q)
            soft = -math.fsum(math.exp(a) * b for a, b in zip(log_p_tau, log_q_tau, strict=True))
            total += (1 - alpha) * hard + alpha * tau**2 * soft
    return total


@pytest.mark.parametrize(("alpha", "tau", "eps"), [(0.5, 1.0, 0.0), (0.7, 2.0, 0.1), (0.0, 1.0, 0.1), (1.0, 0.5, 0.0)])
def test_the_loss_is_the_formula(tiny_corpus: Path, alpha: float, tau: float, eps: float) -> None:
    options = ("--kd-alpha", str(alpha), "--kd-temperature", str(tau), "--label-smoothing", str(eps))
    task, model, criterion = setup(tiny_corpus, *options)
    sample = batch(task, "valid", [0, 1, 2, 3])
    loss, sample_size, log = criterion(model, sample)
    assert loss.item() == pytest.approx(expected(task, model, sample, alpha, tau, eps), rel=1e-5)
    assert sample_size == sample["ntokens"] == log["ntokens"]


@pytest.mark.parametrize("student", ARCHITECTURES)
@pytest.mark.parametrize("teacher", ["transformer", "lstm"])
def test_a_batch_is_the_sum_of_its_sentences(tiny_corpus: Path, student: str, teacher: str) -> None:
    """Any architecture on either side; padding enters neither loss nor gradient."""
    task, model, criterion = setup(tiny_corpus, "--kd-top-k", "5", student=student, teacher=teacher)
    rows = [0, 1, 2, 3, 4]
    assert len({len(batch(task, "valid", [row])["target"][0]) for row in rows}) > 1
    whole, whole_gradient = loss_and_gradient(model, criterion, [batch(task, "valid", rows)])
    parts, parts_gradient = loss_and_gradient(model, criterion, [batch(task, "valid", [row]) for row in rows])
    assert whole == pytest.approx(parts, rel=1e-5)
    torch.testing.assert_close(whole_gradient, parts_gradient, rtol=1e-3, atol=1e-4)


def test_a_teacher_that_is_the_student_teaches_nothing(tiny_corpus: Path) -> None:
    task, model, criterion = setup(tiny_corpus, "--kd-alpha", "1")
    task._teacher = Teacher([copy.deepcopy(model).eval().requires_grad_(False)])
    sample = batch(task, "valid", [0, 1, 2])
    model.zero_grad()
    loss, _, log = criterion(model, sample)
    loss.backward()
    real = real_tokens(sample["target"], task.target_dictionary.pad())
    answers = mean_log_probs([next_tokens(model, sample, real)], slice(None))
    entropy = torch.distributions.Categorical(logits=answers).entropy().sum()
    assert log["kd_loss"].item() == pytest.approx(entropy.item(), rel=1e-5)
    assert log["agreed"].item() == sample["ntokens"]
    assert gradient(model).abs().max() < 1e-4


@pytest.mark.parametrize("options", [(), ("--kd-top-k", "4", "--kd-temperature", "2")])
def test_gradient_by_finite_differences(tiny_corpus: Path, options: tuple[str, ...]) -> None:
    task, model, criterion = setup(tiny_corpus, "--label-smoothing", "0.1", *options)
    sample = batch(task, "valid", [0, 1, 2])
    loss_and_gradient(model, criterion, [sample])
    parameters = [p for p in model.parameters() if p.requires_grad]
    assert_slope(lambda: criterion(model, sample)[0].item(), parameters, step=1e-2, rel=2e-2)


def test_several_teachers_are_the_mean_of_their_probabilities(tiny_corpus: Path) -> None:
    task, _, _ = setup(tiny_corpus)
    models = [build(tiny_corpus, seed=seed)[1].eval() for seed in (5, 6, 7)]
    sample = batch(task, "valid", [0, 1])
    real = real_tokens(sample["target"], task.target_dictionary.pad())
    separate = torch.stack([one(**sample["net_input"])[0][real].double().softmax(-1) for one in models])
    with torch.no_grad():
        together = mean_log_probs(Teacher(models).next_tokens(sample, real), slice(None))
    torch.testing.assert_close(together.double().exp(), separate.mean(0), rtol=1e-4, atol=1e-7)


def test_the_teacher_is_in_nobodys_reach(tiny_corpus: Path) -> None:
    """Neither the optimiser nor a checkpoint nor .train() may find it."""
    task, model, criterion = setup(tiny_corpus)
    criterion(model, batch(task, "valid", [0]))[0].backward()
    assert not list(criterion.parameters()) and not criterion.state_dict()
    (teacher,) = task._teacher.models
    model.train(), criterion.train()
    assert not teacher.training and all(p.grad is None for p in teacher.parameters())
    assert not task.state_dict()


OUT_OF_RANGE = [
    ("--kd-alpha", "1.5"),
    ("--kd-temperature", "0"),
    ("--kd-temperature", "inf"),
    ("--kd-top-k", "-1"),
    ("--label-smoothing", "1"),
]


@pytest.mark.parametrize("option", OUT_OF_RANGE)
def test_an_option_out_of_range_is_named(tiny_corpus: Path, option: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=f"{option[0]} .*: give"):
        build(tiny_corpus, *KD, *option)


@pytest.mark.parametrize("criterion", ["token_kd", "hybrid_kd"])
def test_a_k_that_leaves_no_bucket_is_refused(tiny_corpus: Path, criterion: str) -> None:
    """As `fairseq-kd cache` does: the bucket of all other symbols holds two or more."""
    words = ("--task", "translation_kd", "--criterion", criterion)
    words += ("--distilled-data", "x") if criterion == "hybrid_kd" else ()
    size = len(build(tiny_corpus, *words, "--kd-top-k", "0")[0].target_dictionary)
    build(tiny_corpus, *words, "--kd-top-k", str(size - 2))
    for k in (size - 1, size, size + 5):
        with pytest.raises(UserError, match=f"--kd-top-k {k}: give .* less than {size - 1}, .* or 0 for all"):
            build(tiny_corpus, *words, "--kd-top-k", str(k))


def test_the_stock_task_has_no_teacher(tiny_corpus: Path) -> None:
    with pytest.raises(UserError, match="--task translation_kd"):
        build(tiny_corpus, "--criterion", "token_kd")


def test_a_batch_beyond_the_teachers_positions_is_one_line(tiny_corpus: Path) -> None:
    task, model, criterion = setup(tiny_corpus)
    _, short, _ = build(tiny_corpus, "--max-source-positions", "2", "--encoder-learned-pos")
    task._teacher = Teacher([short.eval()])
    with pytest.raises(UserError, match="has 7 tokens, the teacher takes at most 2"):
        criterion(model, batch(task, "valid", [0]))
