"""The maths of one step against loops in float64 over the definitions. What is registered is tested by itself."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_kd.losses.divergences import DIVERGENCES, alpha, cross_entropy, kl, rkl
from fairseq_kd.losses.family import Bound
from fairseq_kd.losses.truncation import temper, truncate

shapes = st.tuples(st.integers(1, 5), st.integers(2, 9), st.integers(0, 10**6), st.floats(0.1, 6.0))
names = st.sampled_from(sorted(DIVERGENCES))
f_divergences = st.sampled_from(sorted(name for name, family in DIVERGENCES.items() if family.generator))
weights = st.floats(0.05, 0.95)


def distributions(tokens: int, vocabulary: int, seed: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, tokens, vocabulary, generator=draw, dtype=torch.float64)
    teacher, student = logits.log_softmax(-1)
    return teacher, student


def bound(name: str, weight: float) -> Bound:
    return DIVERGENCES[name].at(weight if DIVERGENCES[name].default is not None else None)


def definition(name: str, weight: float) -> Callable[[float], float]:
    """The generator f(u)."""
    family = DIVERGENCES[name]
    assert family.generator is not None
    return lambda u: family.generator(u, weight) if family.default is not None else family.generator(u)  # type: ignore[misc]


@given(shapes, f_divergences, weights)
@settings(deadline=None, max_examples=300)
def test_it_is_the_sum_of_its_generator(shape: tuple[int, int, int, float], name: str, weight: float) -> None:
    p, q = distributions(*shape)
    f = definition(name, weight)
    expected = [
        math.fsum(b * f(a / b) for a, b in zip(row_p, row_q, strict=True))
        for row_p, row_q in zip(p.exp().tolist(), q.exp().tolist(), strict=True)
    ]
    assert bound(name, weight).value(p, q).tolist() == pytest.approx(expected, rel=1e-7, abs=1e-9)
    assert bound(name, weight).value(p.float(), q.float()).tolist() == pytest.approx(expected, rel=1e-2, abs=1e-5)


@given(f_divergences, weights)
def test_the_generator_is_one(name: str, weight: float) -> None:
    """f(1) = 0, and f is convex."""
    f = definition(name, weight)
    assert f(1.0) == pytest.approx(0, abs=1e-12)
    points = [0.05 * 1.3**step for step in range(25)]
    for low, high in zip(points[:-2], points[2:], strict=True):
        assert f((low + high) / 2) <= (f(low) + f(high)) / 2 + 1e-12


@given(shapes, names, weights)
@settings(deadline=None, max_examples=200)
def test_the_halves_make_the_whole(shape: tuple[int, int, int, float], name: str, weight: float) -> None:
    p, q = distributions(*shape)
    one = bound(name, weight)
    torch.testing.assert_close(one.on_teacher_prefixes(p, q) + one.on_student_prefixes(p, q), one.value(p, q))


@given(shapes, f_divergences, weights)
@settings(deadline=None, max_examples=200)
def test_it_is_zero_and_flat_at_equality_and_positive_elsewhere(
    shape: tuple[int, int, int, float], name: str, weight: float
) -> None:
    p, q = distributions(*shape)
    logits = p.clone().requires_grad_()
    value = bound(name, weight).value(p, logits.log_softmax(-1))
    value.sum().backward()
    assert value.abs().max() < 1e-12
    # The total variation distance has a kink there.
    assert logits.grad is not None and (name == "tvd" or logits.grad.abs().max() < 1e-9)
    assert (bound(name, weight).value(p, q) >= -1e-12).all()


@given(shapes, st.sampled_from(["js", "tvd", "hellinger"]))
@settings(deadline=None, max_examples=60)
def test_some_are_symmetric(shape: tuple[int, int, int, float], name: str) -> None:
    p, q = distributions(*shape)
    value = DIVERGENCES[name].at(None).value
    torch.testing.assert_close(value(p, q), value(q, p))
    assert (value(p, q) <= (math.log(2) if name == "js" else 1.0) + 1e-9).all()


@given(st.tuples(st.integers(1, 5), st.integers(2, 9), st.integers(0, 10**6), st.floats(0.1, 2.0)))
@settings(deadline=None, max_examples=60)
def test_limits_of_the_parameters(shape: tuple[int, int, int, float]) -> None:
    p, q = distributions(*shape)
    near = {"rtol": 2e-2, "atol": 1e-5}
    torch.testing.assert_close(alpha(p, q, 1 - 1e-6), kl(p, q), **near)
    torch.testing.assert_close(alpha(p, q, 1e-6), rkl(p, q), **near)
    assert torch.equal(DIVERGENCES["skew_kl"].at(0.0).value(p, q), kl(p, q))
    assert torch.equal(DIVERGENCES["skew_rkl"].at(0.0).value(p, q), rkl(p, q))
    torch.testing.assert_close(
        DIVERGENCES["generalized_js"].at(0.5).value(p, q), DIVERGENCES["js"].at(None).value(p, q)
    )
    # Agarwal et al. 2024: divided by its parameter it tends to the KL, and at the other end to the reverse KL.
    torch.testing.assert_close(DIVERGENCES["generalized_js"].at(1e-6).value(p, q) / 1e-6, kl(p, q), **near)
    torch.testing.assert_close(DIVERGENCES["generalized_js"].at(1 - 1e-6).value(p, q) / 1e-6, rkl(p, q), **near)


@given(shapes)
@settings(deadline=None, max_examples=60)
def test_the_two_cross_entropies(shape: tuple[int, int, int, float]) -> None:
    """A divergence and the entropy of its first side."""
    p, q = distributions(*shape)
    entropy_p, entropy_q = (torch.distributions.Categorical(logits=side).entropy() for side in (p, q))
    torch.testing.assert_close(cross_entropy(p, q), kl(p, q) + entropy_p)
    torch.testing.assert_close(DIVERGENCES["engine"].at(None).value(p, q), rkl(p, q) + entropy_q)


@given(shapes, st.floats(0.3, 8.0))
@settings(deadline=None, max_examples=60)
def test_gradient_of_the_cross_entropy(shape: tuple[int, int, int, float], tau: float) -> None:
    """d/dz −Σ p_τ log q_τ = (q_τ − p_τ)/τ, with z the student's logits."""
    p, q = distributions(*shape)
    logits = q.clone().requires_grad_()
    cross_entropy(temper(p, tau), temper(logits.log_softmax(-1), tau)).sum().backward()
    expected = ((q / tau).softmax(-1) - (p / tau).softmax(-1)) / tau
    torch.testing.assert_close(logits.grad, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_extremes_stay_finite(name: str) -> None:
    """Probabilities of exactly 0 and 1 on either side, and logits of −∞ on both."""
    nothing = float("-inf")
    rows = [[0.0, nothing, nothing], [nothing, 0.0, nothing], [1.0, 2.0, nothing], [60000.0, -60000.0, 0.0]]
    logits = torch.tensor(rows)
    for p in logits:
        student = logits.clone().requires_grad_()
        value = bound(name, 0.3).value(p.log_softmax(-1).expand(4, -1), student.log_softmax(-1))
        value.sum().backward()
        assert torch.isfinite(value).all() and torch.isfinite(student.grad).all()
    same = bound(name, 0.3).value(logits.log_softmax(-1), logits.log_softmax(-1))
    assert name in ("cross_entropy", "engine") or same.abs().max() < 1e-5


@pytest.mark.parametrize(("name", "weight"), [("skew_kl", 1.0), ("alpha", 0.0), ("generalized_js", -0.1), ("kl", 0.5)])
def test_a_parameter_out_of_range_is_refused(name: str, weight: float) -> None:
    with pytest.raises(ValueError, match=r"give a parameter|has no parameter"):
        DIVERGENCES[name].at(weight)


def buckets(log_probs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The mass of each of ``ids`` and of the rest, symbol by symbol."""
    rows = []
    for row, kept in zip(log_probs.exp().tolist(), ids.tolist(), strict=True):
        rest = math.fsum(value for symbol, value in enumerate(row) if symbol not in kept)
        rows.append([row[symbol] for symbol in kept] + [rest])
    return torch.tensor(rows, dtype=log_probs.dtype).log()


@given(shapes, st.integers(1, 7), f_divergences, weights)
@settings(deadline=None, max_examples=150)
def test_top_k_keeps_the_mass_and_never_exceeds_the_whole(
    shape: tuple[int, int, int, float], k: int, name: str, weight: float
) -> None:
    """The data-processing inequality, which every f-divergence obeys."""
    p, q = distributions(*shape)
    k = min(k, p.size(1) - 1)
    ids, top_p = truncate(p, k)
    assert torch.equal(ids, p.argsort(descending=True, stable=True)[:, :k])
    torch.testing.assert_close(top_p, buckets(p, ids))
    value = bound(name, weight).value
    assert (value(top_p, buckets(q, ids)) <= value(p, q) + 1e-9).all()


def test_top_k_by_hand() -> None:
    ids, top = truncate(torch.tensor([[0.1, 0.6, 0.05, 0.25]]).log(), 2)
    assert ids.tolist() == [[1, 3]]
    torch.testing.assert_close(top.exp(), torch.tensor([[0.6, 0.25, 0.15]]))
