"""What the fused loss says of single tokens: weights, values and slopes, and the entropy of an answer."""

import math
from functools import partial

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.divergences import generalized_js
from fairseq_kd.losses.fused import fused_loss
from fairseq_kd.losses.token_values import entropies
from fairseq_kd.losses.truncation import Truncated
from tests.support.dense_loss import (
    cast,
    compare,
    compare_gradients,
    dense_buckets,
    dense_logits,
    dense_loss,
    random_model,
)


@given(
    st.integers(1, 9),
    st.sampled_from(["weight", "biased", "none"]),
    st.integers(0, 10**6),
    st.sampled_from([1, 3, 20]),
    st.sampled_from([torch.float32, torch.float64]),
)
@settings(deadline=None, max_examples=100)
def test_each_token_counts_by_its_weight(
    tokens: int, projection: str, seed: int, rows: int, dtype: torch.dtype
) -> None:
    """Against one dense loss for each token; weights of 0 too, and values and slopes that know no weight."""
    draw, vocabulary = torch.Generator().manual_seed(seed), 7
    exact, teacher = (random_model(draw, tokens, vocabulary, one, 2.0) for one in (projection, "weight"))
    target = torch.randint(vocabulary, (tokens,), generator=draw)
    weights = torch.rand(tokens, generator=draw, dtype=torch.float64) * torch.randint(2, (tokens,), generator=draw)
    objective = Objective(0.4, 0.1, 0.6, kept=3)
    reference, student = cast(exact, torch.float64), cast(exact, dtype)

    def one(token: int) -> torch.Tensor:
        own, theirs = (
            NextTokens(model.features[token : token + 1], model.weight, model.bias) for model in (reference, teacher)
        )
        return dense_loss(own, target[token : token + 1], objective, [theirs])["loss"]

    by_token = torch.stack([one(token) for token in range(tokens)])
    (unweighted,) = torch.autograd.grad(by_token.sum(), reference.features, retain_graph=True)
    expected = {"loss": (weights * by_token).sum()}
    (3 * expected["loss"]).backward()
    memory = rows * vocabulary * 4 / 2**20
    losses = fused_loss(student, target, objective, [cast(teacher, dtype)], memory, weights.to(dtype))
    (3 * losses.loss).backward()
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    compare(losses, expected, tolerance)
    compare_gradients(student, reference, 10 * tolerance)
    assert losses.slopes is not None and not losses.slopes.requires_grad and not losses.by_token.requires_grad
    for found, wanted in ((losses.by_token, by_token.detach()), (losses.slopes, unweighted)):
        torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=10 * tolerance)


def test_an_objective_of_each_token_keeps_to_its_token() -> None:
    """Hard and soft weight, log-odds and weight of each token, over several chunks: one dense loss for each token."""
    draw, tokens, vocabulary, rows = torch.Generator().manual_seed(7), 5, 6, 2
    exact, teacher = (random_model(draw, tokens, vocabulary, "biased", 2.0) for _ in range(2))
    reference, student = cast(exact, torch.float64), cast(exact, torch.float64)
    target = torch.randint(vocabulary, (tokens,), generator=draw)
    hard, soft, weights, odds = (torch.rand(tokens, generator=draw, dtype=torch.float64) for _ in range(4))
    own_odds, reference_odds = (odds.clone().requires_grad_() for _ in range(2))
    mixed = partial(generalized_js, weight=0.3)
    total = torch.zeros((), dtype=torch.float64)
    for one in range(tokens):
        here, theirs = (NextTokens(m.features[one : one + 1], m.weight, m.bias) for m in (reference, teacher))
        divergence = partial(mixed, log_odds=reference_odds[one : one + 1])
        objective = Objective(hard[one].item(), 0.1, soft[one].item(), divergence)
        total = total + weights[one] * dense_loss(here, target[one : one + 1], objective, [theirs])["loss"]
    (3 * total).backward()
    memory = rows * vocabulary * 4 / 2**20
    objective = Objective(hard[:, None], 0.1, soft[:, None], mixed)
    losses = fused_loss(student, target, objective, [teacher], memory, weights, own_odds)
    (3 * losses.loss).backward()
    compare(losses, {"loss": total}, 1e-9)
    compare_gradients(student, reference, 1e-9)
    torch.testing.assert_close(own_odds.grad, reference_odds.grad)


def test_entropies_are_those_of_the_mean_distribution() -> None:
    draw = torch.Generator().manual_seed(4)
    models = [random_model(draw, 9, 6, "weight", 2.0) for _ in range(2)]
    mean = torch.stack([dense_logits(model).softmax(-1) for model in models]).mean(0)
    expected = torch.tensor([-sum(p * math.log(p) for p in row) for row in mean.tolist()])
    found = entropies(models, chunk_memory=2 * 6 * 4 / 2**20)
    torch.testing.assert_close(found.float(), expected)
    ids = mean.topk(2).indices
    short = entropies(Truncated(ids, dense_buckets(mean.log(), ids)))
    assert (short < found).all() and (short > 0).all()
