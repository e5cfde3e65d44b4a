"""The criterion on real models and batches, in one process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq.logging import metrics

from fairseq_kd import cli
from fairseq_kd.criterions.hybrid_kd import HybridKDCriterion
from fairseq_kd.losses.token_values import entropies
from fairseq_kd.networks.teacher import Teacher
from tests.support.gradients import central_difference, gradient
from tests.support.hybrid import GATES, ROWS, TASK, loss_and_gradient, setup
from tests.support.models import ARCHITECTURES, batch, build

LEARNED = [name for name in GATES if GATES[name][0] == "learned"]


def remember(criterion: Any, model: Any, sample: dict[str, Any]) -> None:
    """An update behind it, so that running means are there."""
    criterion.after_update([criterion(model, sample)[2]])


def halves(task: Any, data: Path, distilled: Path, options: tuple[str, ...]) -> list[tuple[Any, dict[str, Any]]]:
    """token_kd on the gold data and fused_cross_entropy on the distilled data, each with its batch of these rows."""
    token_task, _, token_kd = build(data, *TASK, "--criterion", "token_kd", *options)
    token_task._teacher = task._teacher
    smoothing = options[options.index("--label-smoothing") :][:2]
    seq_task, _, seq_kd = build(distilled, *TASK, "--criterion", "fused_cross_entropy", *smoothing)
    return [(token_kd.train(), batch(token_task, "train", ROWS)), (seq_kd.train(), batch(seq_task, "train", ROWS))]


@pytest.mark.parametrize("student", ["transformer", "lstm"])
@pytest.mark.parametrize(
    "options",
    [
        ("--label-smoothing", "0.1"),
        ("--kd-alpha", "0.8", "--kd-temperature", "2", "--kd-top-k", "4", "--label-smoothing", "0"),
        ("--label-smoothing", "0.2", "--sentence-avg"),
    ],
)
def test_the_gate_mixes_token_kd_and_seq_kd(
    tiny_corpus: Path, distilled: Path, student: str, options: tuple[str, ...]
) -> None:
    """Gate 1 is the one and gate 0 the other, in loss, gradient and sample size; between them it is their mean."""
    task, model, _ = setup(tiny_corpus, distilled, "fixed", *options, student=student)
    expected = [loss_and_gradient(model, c, [s]) for c, s in halves(task, tiny_corpus, distilled, options)]
    for g in (0.0, 0.25, 1.0):
        _, _, criterion = setup(tiny_corpus, distilled, "fixed", *options, "--gate-value", str(g), student=student)
        criterion.task = task
        loss, size, slope = loss_and_gradient(model, criterion, [batch(task, "train", ROWS)])
        token, sentence = ([g * value for value in expected[0]], [(1 - g) * value for value in expected[1]])
        if "--sentence-avg" in options:
            assert size == len(ROWS)
        else:
            assert size == pytest.approx(token[1] + sentence[1], rel=1e-6)
        assert loss == pytest.approx(token[0] + sentence[0], rel=1e-5)
        wanted = token[2] + sentence[2]
        torch.testing.assert_close(slope, wanted, rtol=1e-3, atol=1e-5 * wanted.abs().max().item())


@pytest.mark.parametrize(
    ("gate", "student"),
    [(gate, "transformer") for gate in GATES]
    + [(gate, student) for gate in ("normalised", "by token") for student in ARCHITECTURES if student != "transformer"],
)
def test_a_batch_is_the_sum_of_its_sentences(tiny_corpus: Path, distilled: Path, gate: str, student: str) -> None:
    """Padding enters neither loss, nor gate, nor the gradient of either."""
    task, model, criterion = setup(tiny_corpus, distilled, gate, student=student)
    remember(criterion, model, batch(task, "train", [5, 6]))
    samples = [batch(task, "train", [row]) for row in ROWS]
    whole, size, slope = loss_and_gradient(model, criterion, [batch(task, "train", ROWS)])
    parts, sizes, expected = loss_and_gradient(model, criterion, samples)
    assert (whole, size) == pytest.approx((parts, sizes), rel=1e-5)
    torch.testing.assert_close(slope, expected, rtol=1e-3, atol=1e-4)
    logs = [criterion(model, sample)[2] for sample in samples]
    value, _, log = criterion(model, batch(task, "train", ROWS))
    assert value.item() == pytest.approx(float(log["loss"]), rel=1e-6)  # what a gate minimises is no part of it
    for name in log:
        assert float(log[name]) == pytest.approx(sum(float(one[name]) for one in logs), rel=1e-4, abs=1e-4), name


def test_bfloat16_keeps_the_gate_in_float32(tiny_corpus: Path, distilled: Path) -> None:
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        task, model, criterion = setup(tiny_corpus, distilled, "held_out", dtype=dtype)
        remember(criterion, model, batch(task, "train", [5, 6, 7]))
        loss, size, log = criterion(model, batch(task, "train", ROWS))
        loss.backward()
        assert criterion.gate.network.output.weight.dtype == dtype and loss.dtype == torch.float32
        assert criterion.gate.signal.direction.dtype == torch.float32
        found.append((loss.item(), size.item(), log["gate_loss"].item()))
    assert found[1] == pytest.approx(found[0], rel=2e-2)


def exact(task: Any, name: str, rows: list[int]) -> list[list[int]]:
    pad = task.target_dictionary.pad()
    return [[symbol for symbol in row if symbol != pad] for row in batch(task, "train", rows)[name].tolist()]


@pytest.mark.parametrize("gate", ["teacher_entropy", "agreement", "schedule"])
def test_the_gates_without_parameters_are_their_formulas(tiny_corpus: Path, distilled: Path, gate: str) -> None:
    task, model, criterion = setup(tiny_corpus, distilled, gate)
    for row in ROWS[:3]:
        sample = batch(task, "train", [row])
        found = criterion(model, sample)[2]["gate_g"].item()
        if gate == "teacher_entropy":
            p = task._teacher.models[0](**sample["net_input"])[0][0].double().softmax(-1)
            expected = np.exp((p * p.log()).sum(-1).mean().item())
        elif gate == "agreement":
            (gold,), (other,) = exact(task, "target", [row]), exact(task, "distilled", [row])
            table = np.zeros((len(gold) + 1, len(other) + 1))
            table[:, 0], table[0] = range(len(gold) + 1), range(len(other) + 1)
            for i, one in enumerate(gold):
                for j, two in enumerate(other):
                    table[i + 1, j + 1] = min(table[i, j] + (one != two), table[i, j + 1] + 1, table[i + 1, j] + 1)
            expected = 1 - table[-1, -1] / max(len(gold), len(other))
        else:
            expected = 0.6
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gate", LEARNED)
def test_a_learned_gates_gradient_by_finite_differences(tiny_corpus: Path, distilled: Path, gate: str) -> None:
    task, model, criterion = setup(tiny_corpus, distilled, gate, dtype=torch.float64)
    remember(criterion, model, batch(task, "train", [5, 6, 7]))
    sample = batch(task, "train", ROWS)
    criterion.zero_grad()
    criterion(model, sample)[0].backward()
    slopes = [p.grad.clone() for p in criterion.parameters()]
    torch.manual_seed(5)
    for _ in range(4):
        direction = [torch.randn_like(slope) for slope in slopes]
        found = central_difference(
            lambda: criterion(model, sample)[2]["gate_loss"].item(), criterion.parameters(), direction, 1e-5
        )
        expected = sum((s * d).sum().item() for s, d in zip(slopes, direction, strict=True))
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_a_normalised_gate_is_told_the_difference_of_the_losses_per_token(tiny_corpus: Path, distilled: Path) -> None:
    """dJ/dg of a sentence is L_token − L_sentence, both per token, times its gold tokens."""
    options = ("--gate-prior-weight", "0")
    task, model, criterion = setup(tiny_corpus, distilled, "normalised", *options, dtype=torch.float64)
    remember(criterion, model, batch(task, "train", [5, 6, 7]))
    means = (criterion.gate.signal.sizes / criterion.gate.signal.tokens).tolist()
    sample = batch(task, "train", [3])
    loss, _, log = criterion(model, sample)
    g, tokens, other = log["gate_g"].item(), log["ntokens"], log["sentence_tokens"]
    difference = log["token_cost"].item() / means[1] / tokens - log["sentence_cost"].item() / means[0] / other
    loss.backward()
    assert criterion.gate.network.output.bias.grad.item() == pytest.approx(tokens * difference * g * (1 - g), rel=1e-9)


@pytest.mark.parametrize("gate", ["loss", "normalised"])
def test_the_priors_weight_is_by_tokens(tiny_corpus: Path, distilled: Path, gate: str) -> None:
    """Of a gate that has left its prior: n·weight·KL(g‖prior), n the mean tokens of both losses or the gold ones."""
    found = []
    for weight in ("0", "0.8"):
        options = ("--gate-signal", gate, "--gate-prior-weight", weight)
        task, model, criterion = setup(tiny_corpus, distilled, "free", *options, dtype=torch.float64)
        criterion.gate.network.output.bias.data.add_(0.5)
        remember(criterion, model, batch(task, "train", [5, 6, 7]))
        log = criterion(model, batch(task, "train", [3]))[2]
        found.append(log["gate_loss"].item())
    g, prior = log["gate_g"].item(), criterion.gate.options.gate_value
    kl = g * np.log(g / prior) + (1 - g) * np.log((1 - g) / (1 - prior))
    tokens = log["ntokens"] if gate == "normalised" else (log["ntokens"] + log["sentence_tokens"]) / 2
    assert found[1] - found[0] == pytest.approx(0.8 * tokens * kl, rel=1e-6)


@pytest.mark.parametrize("trains", [False, True])
def test_the_gate_reaches_the_student_only_where_asked_to(tiny_corpus: Path, distilled: Path, trains: bool) -> None:
    """The student's gradient beside that of the same weights without a gate's objective."""
    found = []
    for prior in ("0.5", "50"):
        options = ("--gate-prior-weight", prior, *(["--gate-trains-encoder"] if trains else []))
        task, model, criterion = setup(tiny_corpus, distilled, "free", *options)
        criterion(model, batch(task, "train", ROWS))[0].backward()
        found.append([gradient(part) for part in (model.encoder, model.decoder)])
    (encoder, decoder), (other_encoder, other_decoder) = found
    assert torch.equal(decoder, other_decoder) and torch.equal(encoder, other_encoder) != trains


def test_a_cache_stands_in_for_the_teacher(
    tiny_corpus: Path, tiny_teacher: Path, distilled: Path, tmp_path: Path
) -> None:
    words = ["cache", "--model", tiny_teacher, "--data", tiny_corpus, "--output", tmp_path, "--top-k", "4"]
    cli.main([str(word) for word in words])
    shared = (*TASK, "--criterion", "hybrid_kd", "--distilled-data", str(distilled), "--gate", "teacher_entropy")
    found = []
    for option in (("--teacher-cache", str(tmp_path)), ("--teacher-path", str(tiny_teacher), "--kd-top-k", "4")):
        task, model, criterion = build(tiny_corpus, *shared, *option)
        sample = batch(task, "train", ROWS)
        found.append(criterion(model.train(), sample)[2] | {"cached": "soft_targets" in sample})
    assert [log["cached"] for log in found] == [True, False]
    for name in ("sentence_nll", "kd_loss", "nll_loss"):
        assert found[0][name].item() == pytest.approx(found[1][name].item(), rel=1e-3)
    assert 6 > found[0]["gate_g"] > found[1]["gate_g"], "of 4 words and a bucket the entropy is at most the whole one"


@pytest.mark.parametrize("gate", [("fixed", "--gate-value", "1"), ("learned", "--gate-level", "token")])
def test_a_target_with_a_literal_pad(tiny_corpus: Path, distilled: Path, gate: tuple[str, ...]) -> None:
    """It is no target, but the decoder reads it where fairseq puts it: the token-level loss is that of token_kd."""
    words = (*TASK, "--criterion", "hybrid_kd", "--distilled-data", str(distilled), "--gate", *gate)
    task, model, criterion = build(tiny_corpus, *words)
    _, other, _ = build(tiny_corpus, seed=2)
    task._teacher = Teacher([other.eval().requires_grad_(False)])
    task.load_dataset("train")
    rows, pad = [task.dataset("train")[row] for row in ROWS], torch.tensor([task.target_dictionary.pad()])
    for row in rows:
        row["target"] = torch.cat([row["target"][:1], pad, pad, row["target"][1:]])
    sample = task.dataset("train").collater(rows)
    loss, _, log = criterion.train()(model.train(), sample)
    token_kd = build(tiny_corpus, *TASK, "--criterion", "token_kd")[2]
    token_kd.task = task
    expected, _, wanted = token_kd(model, sample)
    assert log["kd_loss"].item() == pytest.approx(wanted["kd_loss"].item(), rel=1e-5)
    assert gate[0] == "learned" or loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("split", ["valid", "train"])
def test_validation_is_token_kd(tiny_corpus: Path, distilled: Path, split: str) -> None:
    """Of the training set, too: fairseq-validate loads no gate."""
    task, model, criterion = setup(tiny_corpus, distilled, "normalised")
    model.eval(), criterion.eval()
    sample = batch(task, split, [0, 1, 2])
    other, _, token_kd = build(tiny_corpus, *TASK, "--criterion", "token_kd")
    other._teacher = task._teacher
    loss, _, log = criterion(model, sample)
    assert loss.item() == token_kd(model, sample)[0].item()
    assert not any("gate" in name for name in log)


@pytest.mark.parametrize("gate", ["normalised", "by token"])
def test_what_is_logged_of_a_gate(tiny_corpus: Path, distilled: Path, gate: str) -> None:
    """Over two batches, against numpy on the values of single sentences."""
    task, model, criterion = setup(tiny_corpus, distilled, gate)
    with torch.no_grad():
        criterion.gate.network.output.weight.mul_(2)
        criterion.gate.network.output.bias.fill_(5)  # g lies on both sides of 0.1 and of 0.9
    gates, lengths, entropy = [], [], []
    for row in ROWS:
        sample = batch(task, "train", [row])
        log = criterion(model, sample)[2]
        real = sample["target"].ne(task.target_dictionary.pad())
        by_token = entropies(task._teacher.next_tokens(sample, real)).double()
        if gate == "normalised":
            gates.append(log["gate_g"].item()), entropy.append(by_token.mean().item())
            lengths.append(sample["net_input"]["src_lengths"].item())
        else:
            assert log["gate_count"] == sample["ntokens"]
            assert log["gate_entropy"].item() == pytest.approx(by_token.sum().item(), rel=1e-6)
    with metrics.aggregate() as logged:
        for rows in (ROWS[:2], ROWS[2:]):
            HybridKDCriterion.reduce_metrics([criterion(model, batch(task, "train", rows))[2]])
    values = logged.get_smoothed_values()
    if gate == "normalised":
        assert values["gate"] == pytest.approx(np.mean(gates), abs=1e-3)
        assert values["gate_spread"] == pytest.approx(np.std(gates), abs=1e-3) and np.std(gates) > 0.01
        assert values["gate_high"] == pytest.approx(np.mean(np.array(gates) > 0.9), abs=1e-3)
        assert values["gate_low"] == pytest.approx(np.mean(np.array(gates) < 0.1), abs=1e-3)
        assert values["gate_length_correlation"] == pytest.approx(np.corrcoef(gates, lengths)[0, 1], abs=2e-3)
        assert values["gate_entropy_correlation"] == pytest.approx(np.corrcoef(gates, entropy)[0, 1], abs=2e-3)
    assert not any(name.startswith("_") for name in values)
