"""The fused loss against a dense one in float64, written from the definitions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.divergences import DIVERGENCES, cross_entropy
from fairseq_kd.losses.family import Divergence
from fairseq_kd.losses.fused import chunk_tokens, fused_loss
from fairseq_kd.losses.truncation import Truncated, truncate
from tests.support.dense_loss import (
    cast,
    compare,
    compare_gradients,
    dense_buckets,
    dense_logits,
    dense_loss,
    random_model,
)

cases = {
    "tokens": st.integers(1, 9),
    "vocabulary": st.integers(3, 14),
    "seed": st.integers(0, 10**6),
    "scale": st.floats(0.1, 4.0),
    "projection": st.sampled_from(["weight", "biased", "none"]),
    "smoothing": st.sampled_from([0.0, 0.1]),
    "tau": st.sampled_from([1.0, 0.5, 3.0]),
    "of_teacher": st.sampled_from([None, 0.7]),
    "alpha": st.sampled_from([0.0, 0.3, 1.0]),
    "top_k": st.integers(0, 6),
    "teachers": st.integers(0, 2),
    "divergence": st.sampled_from(sorted(DIVERGENCES)),
    "rows": st.integers(1, 5),
    "dtype": st.sampled_from([torch.float32, torch.float64]),
}


@given(**cases)
@settings(deadline=None, max_examples=250)
def test_loss_and_every_gradient_equal_the_dense_ones(
    tokens: int,
    vocabulary: int,
    seed: int,
    scale: float,
    projection: str,
    smoothing: float,
    tau: float,
    of_teacher: float | None,
    alpha: float,
    top_k: int,
    teachers: int,
    divergence: str,
    rows: int,
    dtype: torch.dtype,
) -> None:
    draw = torch.Generator().manual_seed(seed)
    exact = random_model(draw, tokens, vocabulary, projection, scale)
    others = [random_model(draw, tokens, vocabulary, "weight", scale) for _ in range(teachers)] or None
    target = torch.randint(vocabulary, (tokens,), generator=draw)
    value = DIVERGENCES[divergence].at(None).value
    objective = Objective(1 - alpha, smoothing, alpha * tau**2, value, tau, top_k, of_teacher)
    reference, student = cast(exact, torch.float64), cast(exact, dtype)
    expected = dense_loss(reference, target, objective, others)
    expected["loss"].backward()
    answer = None if others is None else [cast(other, dtype) for other in others]
    losses = fused_loss(student, target, objective, answer, chunk_memory=rows * vocabulary * 4 / 2**20)
    (3 * losses.loss).backward()
    for tensor in (reference.features, reference.weight, reference.bias):
        if tensor is not None:
            tensor.grad *= 3
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    compare(losses, expected, tolerance)
    compare_gradients(student, reference, 10 * tolerance)


@given(
    st.integers(1, 6),
    st.integers(4, 12),
    st.integers(0, 10**6),
    st.integers(1, 2),
    st.sampled_from(sorted(DIVERGENCES)),
)
@settings(deadline=None, max_examples=60)
def test_a_short_answer_is_worth_the_teacher_with_top_k(
    tokens: int, vocabulary: int, seed: int, top_k: int, divergence: str
) -> None:
    draw = torch.Generator().manual_seed(seed)
    exact, teacher = (random_model(draw, tokens, vocabulary, "weight", 2.0) for _ in range(2))
    target = torch.randint(vocabulary, (tokens,), generator=draw)
    log_p = dense_logits(teacher).log_softmax(-1)
    ids = log_p.topk(top_k).indices
    objective = Objective(0.5, 0.1, 0.5, DIVERGENCES[divergence].at(None).value, kept=top_k)
    live, short = cast(exact, torch.float64), cast(exact, torch.float64)
    one = fused_loss(live, target, objective, [teacher])
    other = fused_loss(short, target, objective, Truncated(ids, dense_buckets(log_p, ids)))
    for losses in (one, other):
        losses.loss.backward()
    compare(other, {"loss": one.loss, "soft_loss": one.soft_loss, "agreed": one.agreed}, 1e-9)
    compare_gradients(short, live, 1e-9)


def test_a_tied_projection_gets_both_its_gradients() -> None:
    """Embedding and projection are one tensor, used by the features and by the loss."""
    draw = torch.Generator().manual_seed(1)
    table = torch.randn(7, 3, generator=draw, dtype=torch.float64)
    words = torch.tensor([0, 2, 2, 6])
    target = torch.tensor([1, 2, 3, 4])
    fused_table, dense_table = table.clone().requires_grad_(), table.clone().requires_grad_()
    fused_loss(NextTokens(fused_table[words].tanh(), fused_table), target, Objective()).loss.backward()
    logits = dense_table[words].tanh() @ dense_table.t()
    torch.nn.functional.cross_entropy(logits, target, reduction="sum").backward()
    torch.testing.assert_close(fused_table.grad, dense_table.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_dtypes_keep_the_softmax_in_float32(dtype: torch.dtype) -> None:
    """Loss and gradient are as far from the exact ones as rounding the inputs and outputs alone explains."""
    draw = torch.Generator().manual_seed(2)
    exact, teacher = (random_model(draw, 40, 500, "weight", 0.5) for _ in range(2))
    target = torch.randint(500, (40,), generator=draw)
    student = cast(exact, dtype)
    rounded = cast(
        NextTokens(*(None if t is None else t.to(dtype).double() for t in (exact.features, exact.weight, None))),
        torch.float64,
    )
    objective = Objective(0.5, 0.1, 0.5)
    expected = dense_loss(rounded, target, objective, [teacher])
    expected["loss"].backward()
    losses = fused_loss(student, target, objective, [cast(teacher, torch.float32)], chunk_memory=0.01)
    losses.loss.backward()
    assert losses.loss.dtype == torch.float32
    assert losses.loss.item() == pytest.approx(expected["loss"].item(), rel=2e-3)
    assert student.weight is not None and student.weight.grad.dtype == dtype
    compare_gradients(student, rounded, 2e-2)


def test_autocast_leaves_the_softmax_alone() -> None:
    draw = torch.Generator().manual_seed(3)
    exact = random_model(draw, 30, 50, "weight", 1.0)
    target = torch.randint(50, (30,), generator=draw)
    plain, cast_features = cast(exact, torch.float32), cast(exact, torch.float32)
    reference = fused_loss(plain, target, Objective())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = NextTokens(cast_features.features.to(torch.bfloat16), cast_features.weight)
        losses = fused_loss(narrow, target, Objective())
    losses.loss.backward()
    reference.loss.backward()
    assert losses.loss.dtype == torch.float32
    assert losses.loss.item() == pytest.approx(reference.loss.item(), rel=1e-2)
    assert cast_features.weight.grad.dtype == torch.float32
    torch.testing.assert_close(cast_features.weight.grad, plain.weight.grad, rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_extreme_logits_stay_finite(name: str) -> None:
    """Symbols that are ruled out on both sides, and certainty on either, leave loss and gradient finite."""
    ruled_out = float("-inf")
    logits = torch.tensor([[0.0, ruled_out, 1.0], [200.0, -200.0, 0.0]], requires_grad=True)
    teacher = NextTokens(torch.tensor([[1.0, ruled_out, 0.0], [200.0, -200.0, 0.0]]))
    divergence = DIVERGENCES[name].at(None).value
    losses = fused_loss(NextTokens(logits), torch.tensor([0, 0]), Objective(0.0, 0.0, 1.0, divergence), [teacher])
    losses.loss.backward()
    p, q = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).log_softmax(-1)
    assert losses.loss.item() == pytest.approx(divergence(p[None], q[None]).item(), rel=1e-5, abs=1e-6)
    assert logits.grad is not None and torch.isfinite(logits.grad).all() and logits.grad[0, 1] == 0


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_bucket_without_mass_stays_finite(name: str) -> None:
    """The student rules out all symbols that the teacher's kept symbols leave."""
    logits = torch.tensor([[200.0, 199.0, -200.0, -200.0]], requires_grad=True)
    teacher = Truncated(torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.3, 0.2]]).log())
    objective = Objective(0.5, 0.0, 0.5, DIVERGENCES[name].at(None).value)
    losses = fused_loss(NextTokens(logits), torch.tensor([0]), objective, teacher)
    losses.loss.backward()
    assert torch.isfinite(losses.loss) and logits.grad is not None and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("kind", ["model", "truncated", "target"])
def test_other_numbers_of_tokens_are_refused(kind: str) -> None:
    """More rows than the target has would be left out without a word, and rows of padding would move all others."""
    draw = torch.Generator().manual_seed(3)
    student, teacher = random_model(draw, 4, 6, "weight", 1.0), random_model(draw, 4, 6, "none", 1.0)
    more = torch.cat([teacher.features, teacher.features]).log_softmax(-1)
    answers = {"model": [NextTokens(more)], "truncated": Truncated(*truncate(more, 2)), "target": None}
    target = torch.arange(3 if kind == "target" else 4)
    with pytest.raises(ValueError, match="tokens of the student 4, of the target"):
        fused_loss(student, target, Objective(0.5, 0.0, 0.5), answers[kind])


def test_validation_computes_no_gradient() -> None:
    model = cast(random_model(torch.Generator().manual_seed(1), 4, 6, "weight", 1.0), torch.float32)
    with torch.no_grad():
        losses = fused_loss(model, torch.tensor([0, 1, 2, 3]), Objective())
    assert not losses.loss.requires_grad


def test_frozen_parts_get_no_gradient() -> None:
    exact = random_model(torch.Generator().manual_seed(1), 4, 6, "biased", 1.0)
    features = exact.features.clone().requires_grad_()
    fused_loss(NextTokens(features, exact.weight, exact.bias), torch.tensor([0, 1, 2, 3]), Objective()).loss.backward()
    assert features.grad is not None and exact.weight is not None and exact.weight.grad is None


def test_chunks_follow_the_memory() -> None:
    cpu = torch.device("cpu")
    assert chunk_tokens(8000, cpu) == 131
    assert chunk_tokens(10**6, cpu) == 128
    assert chunk_tokens(8000, cpu, 1.0) == 32
    assert chunk_tokens(10**9, cpu, 1.0) == 1
    assert chunk_tokens(8000, torch.device("cuda")) == 8388


def test_cross_entropy_is_the_default() -> None:
    divergence: Divergence = Objective().divergence
    assert divergence is cross_entropy


def test_a_gpus_chunk_depends_on_the_projection() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert chunk_tokens(128_000, gpu, width=4096) == 2048
    assert chunk_tokens(128_000, gpu) == 524  # logits without a projection have no width
    assert chunk_tokens(128_000, cpu, width=4096) == 128
    assert chunk_tokens(128_000, gpu, chunk_memory=64, width=4096) == 131
