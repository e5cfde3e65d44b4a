"""Theorem 1 of Wen et al. 2023 by enumeration: step-wise sums against divergences over all sequences, in float64.

Two random models over sequences of at most four symbols and an end: each prefix has a distribution of its own. The
expectation over teacher or student sequences is a sum over all of them, so nothing here is a matter of sampling.
"""

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.divergences import DIVERGENCES, sequence_log_odds
from fairseq_kd.losses.family import Divergence
from fairseq_kd.losses.fused import fused_loss
from fairseq_kd.losses.token_values import token_nll

END, SYMBOLS, LONGEST = 0, 3, 4


class Model:
    """Logits for every prefix, shape (prefixes, symbols); after the longest prefixes only the end can come."""

    def __init__(self, seed: int, scale: float):
        draw = torch.Generator().manual_seed(seed)
        self.prefixes = [p for n in range(LONGEST + 1) for p in itertools.product(range(1, SYMBOLS), repeat=n)]
        self.row = {prefix: number for number, prefix in enumerate(self.prefixes)}
        logits = scale * torch.randn(len(self.prefixes), SYMBOLS, generator=draw, dtype=torch.float64)
        full = torch.tensor([len(prefix) == LONGEST for prefix in self.prefixes])
        logits[full, 1:] = float("-inf")
        self.logits = logits.requires_grad_()

    def sequences(self) -> Iterator[tuple[int, ...]]:
        return ((*prefix, END) for prefix in self.prefixes)

    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of all sequences, one after the other: the prefixes' rows, the symbols there, and the lengths."""
        steps = [(self.row[one[:t]], one[t]) for one in self.sequences() for t in range(len(one))]
        rows, symbols = (torch.tensor(column) for column in zip(*steps, strict=True))
        return rows, symbols, torch.tensor([len(one) for one in self.sequences()])

    def log_probs(self) -> Tensor:
        """log p of each sequence, shape (sequences,)."""
        rows, symbols, lengths = self.rows()
        steps = self.logits.log_softmax(-1)[rows, symbols]
        return torch.stack([part.sum() for part in steps.split(lengths.tolist())])


@pytest.fixture(params=[(1, 2, 0.7), (3, 4, 2.0), (5, 6, 4.0)], ids=["near", "middle", "far"])
def models(request: pytest.FixtureRequest) -> tuple[Model, Model]:
    teacher_seed, student_seed, scale = request.param
    teacher, student = Model(teacher_seed, scale), Model(student_seed, scale)
    teacher.logits.requires_grad_(False)
    assert teacher.log_probs().exp().sum().item() == pytest.approx(1, abs=1e-12)
    return teacher, student


def expected(
    teacher: Model, student: Model, drawer: Model, divergence: Divergence, share: float | None = None
) -> Tensor:
    """E over the drawer's sequences of the sum over steps, by the loss that training takes.

    ``share``: of the teacher in a mixture of sequences, None for that of each step.
    """
    rows, symbols, lengths = teacher.rows()
    chances = drawer.log_probs().exp().detach()
    total = torch.zeros((), dtype=torch.float64)
    starts = (lengths.cumsum(0) - lengths).tolist()
    for chance, start, length in zip(chances, starts, lengths.tolist(), strict=True):
        own = slice(start, start + length)
        p, q = NextTokens(teacher.logits[rows[own]]), NextTokens(student.logits[rows[own]])
        target, odds = symbols[own], None
        if share is not None:
            odds = sequence_log_odds(-token_nll(p, target), -token_nll(q, target), torch.tensor([length]), share)
        objective = Objective(hard_weight=0, soft_weight=1, divergence=divergence)
        total = total + chance * fused_loss(q, target, objective, [p], log_odds=odds).loss
    return total


def over_sequences(p: Tensor, q: Tensor, beta: float = 0.5) -> dict[str, float]:
    """The divergences of two distributions, as loops over their outcomes; p and q are probabilities."""
    pairs = list(zip(p.tolist(), q.tolist(), strict=True))
    middle = [beta * a + (1 - beta) * b for a, b in pairs]
    return {
        "kl": math.fsum(a * math.log(a / b) for a, b in pairs),
        "rkl": math.fsum(b * math.log(b / a) for a, b in pairs),
        "tvd": math.fsum(abs(a - b) / 2 for a, b in pairs),
        "js": math.fsum(
            beta * a * math.log(a / m) + (1 - beta) * b * math.log(b / m)
            for (a, b), m in zip(pairs, middle, strict=True)
        ),
    }


def test_kl_and_rkl_decompose(models: tuple[Model, Model]) -> None:
    teacher, student = models
    whole = over_sequences(teacher.log_probs().exp(), student.log_probs().exp())
    for name, drawer in (("kl", teacher), ("rkl", student)):
        steps = expected(teacher, student, drawer, DIVERGENCES[name].at(None).value)
        assert steps.item() == pytest.approx(whole[name], rel=1e-9)


def test_tvd_is_bounded(models: tuple[Model, Model]) -> None:
    teacher, student = models
    one = DIVERGENCES["tvd"].at(None)
    bound = expected(teacher, student, teacher, one.on_teacher_prefixes)
    bound = bound + expected(teacher, student, student, one.on_student_prefixes)
    exact = over_sequences(teacher.log_probs().exp(), student.log_probs().exp())["tvd"]
    assert exact < bound.item()


@pytest.mark.parametrize("beta", [0.2, 0.5, 0.9])
def test_js_with_the_mixture_of_sequences_decomposes(models: tuple[Model, Model], beta: float) -> None:
    teacher, student = models
    one = DIVERGENCES["generalized_js"].at(beta)
    halves = [(teacher, one.on_teacher_prefixes), (student, one.on_student_prefixes)]
    steps = sum(expected(teacher, student, drawer, half, beta).item() for drawer, half in halves)
    exact = over_sequences(teacher.log_probs().exp(), student.log_probs().exp(), beta)["js"]
    assert steps == pytest.approx(exact, rel=1e-9)


RATIO = {"near": 1.06, "middle": 1.28, "far": 1.83}
"""Measured: the JS with the mixture of steps, as a multiple of that of sequences."""


def test_js_with_the_mixture_of_steps_is_larger(models: tuple[Model, Model], request: pytest.FixtureRequest) -> None:
    """Always: behind a prefix the mixture of sequences is the one that minimises w·KL(p‖m) + (1−w)·KL(q‖m)."""
    teacher, student = models
    one = DIVERGENCES["js"].at(None)
    halves = [(teacher, one.on_teacher_prefixes), (student, one.on_student_prefixes)]
    steps = sum(expected(teacher, student, drawer, half).item() for drawer, half in halves)
    exact = over_sequences(teacher.log_probs().exp(), student.log_probs().exp())["js"]
    assert steps / exact == pytest.approx(RATIO[request.node.callspec.id], abs=0.01)


@pytest.mark.parametrize("drawn_by", ["teacher", "student"])
def test_gradient_of_the_sequence_mixture(models: tuple[Model, Model], drawn_by: str) -> None:
    """Also through the prefixes' probabilities in the mixture; only the drawing itself passes none on."""
    teacher, student = models
    one = DIVERGENCES["js"].at(None)
    drawer, half = (teacher, one.on_teacher_prefixes) if drawn_by == "teacher" else (student, one.on_student_prefixes)
    (gradient,) = torch.autograd.grad(expected(teacher, student, drawer, half, 0.5), student.logits)

    p, q = teacher.log_probs(), student.log_probs()
    middle = torch.logaddexp(p, q) - math.log(2)
    by_sequences = (p.exp() * (p - middle)).sum() / 2
    exact = by_sequences if drawn_by == "teacher" else _student_half_by_prefixes(teacher, student)
    (by_definition,) = torch.autograd.grad(exact, student.logits)
    torch.testing.assert_close(gradient, by_definition, rtol=1e-9, atol=1e-12)


GRADIENT = {"near": (0.99, 1.06), "middle": (0.93, 3.03), "far": (1.00, 1.00)}
"""Measured: cosine with the exact gradient, and norm as a multiple of its norm."""


def test_how_far_the_gradient_is_from_the_exact_one(
    models: tuple[Model, Model], request: pytest.FixtureRequest
) -> None:
    """The JS of whole sequences, whose gradient includes that of the drawing; docs/explanation/f-distill.md says it."""
    teacher, student = models
    one = DIVERGENCES["js"].at(None)
    halves = [(teacher, one.on_teacher_prefixes), (student, one.on_student_prefixes)]
    steps = torch.stack([expected(teacher, student, drawer, half, 0.5) for drawer, half in halves]).sum()
    p, q = teacher.log_probs(), student.log_probs()
    middle = torch.logaddexp(p, q) - math.log(2)
    whole = (p.exp() * (p - middle) + q.exp() * (q - middle)).sum() / 2
    possible = student.logits.isfinite()
    own, exact = (torch.autograd.grad(value, student.logits)[0][possible] for value in (steps, whole))
    cosine, norm = torch.cosine_similarity(own, exact, dim=0), own.norm() / exact.norm()
    assert (cosine.item(), norm.item()) == pytest.approx(GRADIENT[request.node.callspec.id], abs=0.01)


def _student_half_by_prefixes(teacher: Model, student: Model) -> Tensor:
    """½ Σ over prefixes of q(prefix), held fixed, times KL(q‖m) there, m as a ratio of two prefixes' mixtures."""
    p_steps, q_steps = teacher.logits.log_softmax(-1), student.logits.log_softmax(-1)
    total = torch.zeros((), dtype=torch.float64)
    for prefix in teacher.prefixes:
        rows = [teacher.row[prefix[:t]] for t in range(len(prefix))]
        p_before = sum((p_steps[row, symbol] for row, symbol in zip(rows, prefix, strict=True)), torch.zeros(()))
        q_before = sum((q_steps[row, symbol] for row, symbol in zip(rows, prefix, strict=True)), torch.zeros(()))
        here = teacher.row[prefix]
        symbols = [END] if len(prefix) == LONGEST else list(range(SYMBOLS))
        before = torch.logaddexp(p_before, q_before)
        for symbol in symbols:
            p_after, q_after = p_before + p_steps[here, symbol], q_before + q_steps[here, symbol]
            middle = torch.logaddexp(p_after, q_after) - before
            q = q_steps[here, symbol]
            total = total + q_before.exp().detach() * q.exp() * (q - middle) / 2
    return total
