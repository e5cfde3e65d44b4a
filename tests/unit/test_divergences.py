"""The maths of one step against loops in float64 over the definitions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_kd.divergences import cross_entropy, kl, temper, top_k_and_tail

shapes = st.tuples(st.integers(1, 5), st.integers(2, 9), st.integers(0, 10**6), st.floats(0.1, 6.0))


def distributions(tokens: int, vocabulary: int, seed: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, tokens, vocabulary, generator=draw, dtype=torch.float64)
    teacher, student = logits.log_softmax(-1)
    return teacher, student


def loop(p: torch.Tensor, q: torch.Tensor) -> list[float]:
    """−Σ p·log q, term by term."""
    return [
        -math.fsum(a * math.log(b) for a, b in zip(row_p, row_q, strict=True) if a > 0)
        for row_p, row_q in zip(p.exp().tolist(), q.exp().tolist(), strict=True)
    ]


@given(shapes)
@settings(deadline=None, max_examples=60)
def test_cross_entropy_is_the_definition(shape: tuple[int, int, int, float]) -> None:
    p, q = distributions(*shape)
    assert cross_entropy(p.float(), q.float()).tolist() == pytest.approx(loop(p, q), rel=1e-4, abs=1e-5)


@given(shapes)
@settings(deadline=None, max_examples=60)
def test_at_equality_it_is_the_entropy_and_the_gradient_vanishes(shape: tuple[int, int, int, float]) -> None:
    p, _ = distributions(*shape)
    logits = p.clone().requires_grad_()
    value = cross_entropy(p, logits.log_softmax(-1))
    value.sum().backward()
    assert value.tolist() == pytest.approx(torch.distributions.Categorical(logits=p).entropy().tolist(), abs=1e-9)
    assert logits.grad is not None and logits.grad.abs().max() < 1e-12


@given(shapes, st.floats(0.3, 8.0))
@settings(deadline=None, max_examples=60)
def test_gradient_is_the_difference_of_the_distributions(shape: tuple[int, int, int, float], tau: float) -> None:
    """d/dz −Σ p_τ log q_τ = (q_τ − p_τ)/τ, with z the student's logits."""
    p, q = distributions(*shape)
    logits = q.clone().requires_grad_()
    cross_entropy(temper(p, tau), temper(logits.log_softmax(-1), tau)).sum().backward()
    expected = ((q / tau).softmax(-1) - (p / tau).softmax(-1)) / tau
    torch.testing.assert_close(logits.grad, expected, rtol=1e-9, atol=1e-12)


@given(shapes)
@settings(deadline=None, max_examples=60)
def test_kl_is_the_definition(shape: tuple[int, int, int, float]) -> None:
    p, q = distributions(*shape)
    expected = [a - b for a, b in zip(loop(p, q), loop(p, p), strict=True)]
    assert kl(p, q).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert kl(p, p).abs().max() == 0


def buckets(log_probs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The mass of each of ``ids`` and of the rest, symbol by symbol."""
    rows = []
    for row, kept in zip(log_probs.exp().tolist(), ids.tolist(), strict=True):
        rest = math.fsum(value for symbol, value in enumerate(row) if symbol not in kept)
        rows.append([row[symbol] for symbol in kept] + [rest])
    return torch.tensor(rows, dtype=log_probs.dtype).log()


@given(shapes, st.integers(1, 7))
@settings(deadline=None, max_examples=80)
def test_top_k_keeps_the_mass_and_never_exceeds_the_whole(shape: tuple[int, int, int, float], k: int) -> None:
    p, q = distributions(*shape)
    k = min(k, p.size(1) - 1)
    ids, top_p = top_k_and_tail(p, k)
    assert torch.equal(ids, p.argsort(descending=True, stable=True)[:, :k])
    torch.testing.assert_close(top_p, buckets(p, ids))
    assert (kl(top_p, buckets(q, ids)) <= kl(p, q) + 1e-9).all()


def test_top_k_by_hand() -> None:
    ids, top = top_k_and_tail(torch.tensor([[0.1, 0.6, 0.05, 0.25]]).log(), 2)
    assert ids.tolist() == [[1, 3]]
    torch.testing.assert_close(top.exp(), torch.tensor([[0.6, 0.25, 0.15]]))


def test_a_zero_of_the_teacher_where_the_student_has_one_costs_nothing() -> None:
    p = torch.tensor([[1.0, 0.0]]).log()
    logits = torch.tensor([[0.0, float("-inf")]], requires_grad=True)
    value = cross_entropy(p, logits.log_softmax(-1))
    value.sum().backward()
    assert value.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros(1, 2))
