"""Spans, mapped and sorted distributions by their definitions, in float64."""

import math
from collections.abc import Callable

import pytest
import torch

from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.fused import fused_loss
from fairseq_kd.losses.other_vocabulary import (
    SUREST,
    mapped,
    sorted_distance,
    span_cross_entropy,
    span_log_probs,
    student_log_probs,
    teacher_log_probs,
)
from tests.support.dense_loss import cast, compare_gradients, dense_logits, random_model

DRAW = torch.Generator().manual_seed(1)


def random_log_probs(tokens: int, vocabulary: int) -> torch.Tensor:
    return torch.randn(tokens, vocabulary, generator=DRAW, dtype=torch.float64).mul(2).log_softmax(-1)


@pytest.mark.parametrize(("teacher", "student"), [(5, 5), (3, 7), (7, 3)])
def test_the_sorted_distance_is_that_of_sorted_lists(teacher: int, student: int) -> None:
    log_p, log_q = random_log_probs(6, teacher), random_log_probs(6, student)
    for one, p, q in zip(sorted_distance(log_p, log_q), log_p.exp().tolist(), log_q.exp().tolist(), strict=True):
        p, q = (sorted(side, reverse=True) + [0.0] * (7 - len(side)) for side in (p, q))
        assert one.item() == pytest.approx(math.fsum(abs(a - b) for a, b in zip(p, q, strict=True)), abs=1e-12)


def test_the_sorted_distance_is_the_cheapest_transport_where_sizes_agree() -> None:
    """Over all one-to-one matchings of the symbols, by enumeration: sorting minimises Σ|p − q|."""
    from itertools import permutations

    log_p, log_q = random_log_probs(4, 5), random_log_probs(4, 5)
    for one, p, q in zip(sorted_distance(log_p, log_q), log_p.exp(), log_q.exp(), strict=True):
        assert one.item() == pytest.approx(min((p - q[list(order)]).abs().sum() for order in permutations(range(5))))


def test_the_sorted_distance_ignores_names() -> None:
    log_p = random_log_probs(4, 6)
    assert sorted_distance(log_p, log_p[:, torch.randperm(6, generator=DRAW)]).abs().max() == 0


def test_the_span_loss_is_the_cross_entropy_of_two_events() -> None:
    p, q = torch.rand(20, generator=DRAW, dtype=torch.float64), torch.rand(20, generator=DRAW, dtype=torch.float64)
    expected = -p * q.log() - (1 - p) * (1 - q).log()
    torch.testing.assert_close(span_cross_entropy(p.log(), q.log()), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("log_p", [0.0, -1e-9, -1.0, -200.0])
@pytest.mark.parametrize("log_q", [0.0, -1e-9, -1e-3, -1.0, -100.0, -1e4])
def test_the_span_loss_and_its_gradient_are_finite(log_p: float, log_q: float) -> None:
    q = torch.tensor([log_q], requires_grad=True)
    loss = span_cross_entropy(torch.tensor([log_p]), q)
    loss.sum().backward()
    assert loss.isfinite().all() and q.grad.isfinite().all()
    assert loss.item() >= 0


def test_the_span_loss_is_smallest_at_the_teachers_probability() -> None:
    log_p = torch.tensor([0.3, 0.9], dtype=torch.float64).log()
    log_q = log_p.clone().requires_grad_()
    span_cross_entropy(log_p, log_q).sum().backward()
    assert log_q.grad.abs().max() < 1e-12
    assert torch.autograd.gradcheck(
        lambda x: span_cross_entropy(log_p, x), torch.tensor([-0.4, -3.0]).double().requires_grad_()
    )
    assert SUREST < 0


def test_a_spans_probability_is_the_product_of_its_tokens() -> None:
    tokens = torch.tensor([0.5, 0.25, 0.1], dtype=torch.float64).log()
    spans = span_log_probs(tokens, torch.tensor([0, 0, 1]), 2).exp()
    torch.testing.assert_close(spans, torch.tensor([0.125, 0.1], dtype=torch.float64))


@pytest.mark.parametrize("projection", ["weight", "biased", "none"])
@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_log_probs_of_tokens(projection: str, tau: float) -> None:
    model = cast(random_model(DRAW, 9, 11, projection, 1.5), torch.float64)
    target = torch.randint(11, (9,), generator=DRAW)
    expected = (dense_logits(model) / tau).log_softmax(-1).gather(1, target[:, None]).squeeze(1)
    torch.testing.assert_close(student_log_probs(model, target, tau, 1e-4), expected)
    torch.testing.assert_close(teacher_log_probs([model], target, tau, 1e-4), expected.detach())
    other = random_model(DRAW, 9, 11, projection, 1.5)
    mean = torch.stack([dense_logits(one).softmax(-1) for one in (model, other)]).mean(0)
    expected = (mean.log() / tau).log_softmax(-1).gather(1, target[:, None]).squeeze(1)
    torch.testing.assert_close(teacher_log_probs([model, other], target, tau), expected.detach())
    assert len(teacher_log_probs([model], target[:0], tau)) == 0


def mapped_by_hand(log_p: torch.Tensor, place: list[int], size: int) -> torch.Tensor:
    """(tokens, size): probabilities added one by one, over the mass that maps somewhere."""
    found = torch.zeros(len(log_p), size, dtype=torch.float64)
    for token, row in enumerate(log_p.exp().tolist()):
        for symbol, probability in enumerate(row):
            if place[symbol] < size:
                found[token, place[symbol]] += probability
    return found / found.sum(-1, keepdim=True)


@pytest.mark.parametrize("projection", ["weight", "none"])
@pytest.mark.parametrize("kept", [0, 2])
@pytest.mark.parametrize("teachers", [1, 2])
def test_the_loss_with_a_mapped_teacher(projection: str, kept: int, teachers: int) -> None:
    place, size, tau = [3, 0, 0, 6, 2, 3, 5, 1], 6, 2.0  # 6 is nowhere, and no symbol maps to 4
    models = [random_model(DRAW, 7, 8, projection, 1.5) for _ in range(teachers)]
    student = random_model(DRAW, 7, size, projection, 1.5)
    own, reference = cast(student, torch.float64), cast(student, torch.float64)
    target = torch.randint(size, (7,), generator=DRAW)
    answer = [mapped(one, torch.tensor(place), size) for one in models]
    objective = Objective(0.4, 0.1, 0.6 * tau**2, temperature=tau, kept=kept)
    losses = fused_loss(own, target, objective, answer, chunk_memory=1e-4)
    losses.loss.backward()

    p = torch.stack([mapped_by_hand(dense_logits(one).log_softmax(-1), place, size) for one in models]).mean(0)
    p = p.pow(1 / tau)
    p /= p.sum(-1, keepdim=True)
    log_q, tempered = (logits.log_softmax(-1) for logits in (dense_logits(reference), dense_logits(reference) / tau))
    soft = -(p * tempered).sum()
    if kept:
        ids = p.topk(kept).indices
        inside = torch.zeros_like(p, dtype=torch.bool).scatter(1, ids, True)
        rest = [(side.masked_fill(inside, 0)).sum(-1) for side in (p, tempered.exp())]
        soft = -(p * tempered).masked_fill(~inside, 0).sum() - (rest[0] * rest[1].log()).sum()
    smooth = torch.full_like(log_q, 0.1 / (size - 1)).scatter_(1, target[:, None], 0.9)
    expected = 0.4 * -(smooth * log_q).sum() + 0.6 * tau**2 * soft
    expected.backward()
    assert losses.loss.item() == pytest.approx(expected.item(), rel=1e-9)
    compare_gradients(own, reference, 1e-8)


def test_a_map_that_changes_nothing_is_no_map() -> None:
    model = random_model(DRAW, 3, 5, "weight", 1.0)
    assert mapped(model, torch.arange(5), 5) is model
    assert mapped(model, torch.arange(5), 6) is not model


def test_the_map_gives_the_students_next_symbol() -> None:
    """A teacher with {a, b, ab} and a student with {a, b}: each text of the teacher's begins with a or b."""
    p = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)
    found = mapped(NextTokens(p.log()), torch.tensor([0, 1, 0]), 2).logits(slice(0, 1)).exp()
    torch.testing.assert_close(found, torch.tensor([[0.7, 0.3]], dtype=torch.float64))


@pytest.mark.parametrize("sizes", [(5, 5), (8, 5), (5, 8)])
def test_the_fused_loss_with_sorted_distributions(sizes: tuple[int, int]) -> None:
    teacher, student = random_model(DRAW, 6, sizes[0], "weight", 1.5), random_model(DRAW, 6, sizes[1], "weight", 1.5)
    own, reference = cast(student, torch.float64), cast(student, torch.float64)
    target = torch.randint(sizes[1], (6,), generator=DRAW)
    objective = Objective(0.4, 0.0, 0.6, divergence=sorted_distance, temperature=1.5)
    losses = fused_loss(own, target, objective, [teacher], chunk_memory=1e-4)
    losses.loss.backward()
    p, q = ((dense_logits(one) / 1.5).softmax(-1) for one in (teacher, reference))
    p, q = (torch.nn.functional.pad(side.sort(-1, descending=True).values, (0, 8 - side.size(-1))) for side in (p, q))
    nll = -dense_logits(reference).log_softmax(-1).gather(1, target[:, None]).sum()
    expected = 0.4 * nll + 0.6 * (p - q).abs().sum()
    expected.backward()
    assert losses.loss.item() == pytest.approx(expected.item(), rel=1e-9)
    compare_gradients(own, reference, 1e-8)


def finite_difference(value: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> torch.Tensor:
    """Central differences of a function at each entry."""
    steps = 1e-6 * torch.eye(at.numel(), dtype=torch.float64).view(-1, *at.shape)
    return torch.stack([(value(at + step) - value(at - step)) / 2e-6 for step in steps]).view_as(at)


def test_the_sorted_distances_gradient_by_finite_differences() -> None:
    log_p, logits = random_log_probs(2, 6), torch.randn(2, 4, generator=DRAW, dtype=torch.float64)

    def value(at: torch.Tensor) -> torch.Tensor:
        return sorted_distance(log_p, at.log_softmax(-1)).sum()

    leaf = logits.clone().requires_grad_()
    value(leaf).backward()
    torch.testing.assert_close(leaf.grad, finite_difference(value, logits), rtol=1e-5, atol=1e-8)
