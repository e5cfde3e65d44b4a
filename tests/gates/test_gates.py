"""The gates' parts against loops over their definitions."""

import logging
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_kd.gates.inputs import Places, at_same_places, certainty, edit_distance, gate_inputs, local_inputs
from fairseq_kd.gates.network import GateNetwork
from fairseq_kd.gates.signal import Half, Signal, gate_objective
from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.fused import fused_loss

PAD = 1
sentences = st.lists(st.lists(st.integers(2, 5), min_size=1, max_size=7), min_size=1, max_size=4)


def padded(rows: list[list[int]], left: bool = False) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[PAD] * (longest - len(r)) + r if left else r + [PAD] * (longest - len(r)) for r in rows])


def levenshtein(one: list[int], other: list[int]) -> int:
    if not one or not other:
        return len(one) + len(other)
    return min(
        levenshtein(one[1:], other) + 1,
        levenshtein(one, other[1:]) + 1,
        levenshtein(one[1:], other[1:]) + (one[0] != other[0]),
    )


@given(sentences, st.integers(0, 10**6))
@settings(deadline=None, max_examples=60)
def test_edit_distance_is_the_recursion(rows: list[list[int]], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    others = [
        torch.randint(2, 6, (int(torch.randint(1, 7, (), generator=draw)),), generator=draw).tolist() for _ in rows
    ]
    found = edit_distance(padded(rows), padded(others), PAD)
    for value, one, other in zip(found.tolist(), rows, others, strict=True):
        assert value == pytest.approx(levenshtein(one, other) / max(len(one), len(other)))


def test_padding_within_a_sequence_does_not_count() -> None:
    """A text may hold a literal ``<pad>``."""
    plain, others = padded([[2, 3, 4], [5]]), padded([[2, 4], [3, 3, 5, 2]])
    holed = torch.tensor([[2, PAD, 3, PAD, 4], [PAD, 5, PAD, PAD, PAD]])
    assert edit_distance(holed, others, PAD).tolist() == edit_distance(plain, others, PAD).tolist()
    assert edit_distance(others, holed, PAD).tolist() == edit_distance(others, plain, PAD).tolist()
    assert Places.of(holed.ne(PAD)).column.tolist() == [0, 1, 2, 0]
    local = local_inputs(holed[:, :, None].float(), holed.ne(PAD), Places.of(torch.ones(2, 3, dtype=torch.bool)))
    assert local[:, 1].tolist() == [2, 3, 4, 5, 5, 5]


def test_places_tell_the_same_part_of_sequences_of_other_lengths() -> None:
    one, other = Places.of(padded([[2, 3, 4, 5], [2]]).ne(PAD)), Places.of(padded([[2, 2], [2, 2, 2]]).ne(PAD))
    assert one.column.tolist() == [0, 1, 2, 3, 0]
    assert one.sentence.tolist() == [0, 0, 0, 0, 1] and other.sentence.tolist() == [0, 0, 1, 1, 1]
    assert one.within(other.lengths).tolist() == [0, 0, 1, 1, 1]
    values = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
    assert at_same_places(values, one, other).tolist() == [1, 3, 4, 4, 4]
    assert at_same_places(values, one, one).tolist() == values.tolist()
    assert one.mean(values).tolist() == [1.5, 4]


@pytest.mark.parametrize("left", [False, True])
def test_inputs_are_of_real_source_positions(left: bool) -> None:
    rows = [[2, 3, 4, 5], [2, 3]]
    real = padded(rows, left).ne(PAD)
    states = torch.full((2, 4, 1), math.nan)
    states[real] = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [7.0]])
    assert gate_inputs(states, real).tolist() == [[2.5], [6.0]]
    places = Places.of(torch.ones(2, 4, dtype=torch.bool))
    local = local_inputs(states, real, places)
    assert local[:, 1].tolist() == [1, 2, 3, 4, 5, 5, 7, 7] and local[:, 0].tolist() == [2.5] * 4 + [6] * 4


def test_certainty_is_one_over_the_number_of_choices() -> None:
    entropy = torch.tensor([1, 2, 4, 1000]).log()
    torch.testing.assert_close(certainty(entropy), torch.tensor([1, 0.5, 0.25, 0.001]))


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_a_gate_starts_at_its_value_and_moves_by_its_scale(scale: float) -> None:
    torch.manual_seed(1)
    inputs = torch.randn(5, 4)
    network = GateNetwork(4, 0.3, scale)
    torch.testing.assert_close(network(inputs).sigmoid(), torch.full((5,), 0.3))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    network(inputs).sum().backward()
    before = network.output.bias.item() * scale
    optimizer.step()
    assert before - network.output.bias.item() * scale == pytest.approx(1e-3 * scale, rel=1e-3)


def test_autocast_leaves_the_logits_in_float32() -> None:
    network = GateNetwork(4, 0.3, 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(torch.randn(5, 4)).dtype == torch.float32


def test_the_scale_changes_nothing_before_the_first_step() -> None:
    outputs = []
    for scale in (1.0, 7.0):
        torch.manual_seed(1)
        network = GateNetwork(4, 0.3, scale)
        torch.nn.init.constant_(network.output.weight, 1 / scale)
        outputs.append(network(torch.arange(8.0).view(2, 4).cos()))
    torch.testing.assert_close(*outputs)


@given(st.floats(-4, 4), st.floats(0.1, 3), st.floats(0.05, 0.95), st.floats(-30, 30))
@settings(deadline=None, max_examples=60)
def test_the_objective_is_its_formula_and_has_its_minimum(
    cost: float, weight: float, prior: float, logit: float
) -> None:
    def value(at: float) -> float:
        logits = torch.tensor([at], dtype=torch.float64)
        return gate_objective(logits, torch.tensor([cost]), torch.tensor([2.0]), prior, weight).item()

    g, other = 1 / (1 + math.exp(-logit)), 1 / (1 + math.exp(logit))
    kl = g * math.log(g / prior) + other * math.log(other / (1 - prior))
    assert value(logit) == pytest.approx(2 * (g * cost + weight * kl), rel=1e-6, abs=1e-6)
    best = math.log(prior / (1 - prior)) - cost / weight
    assert value(best) <= min(value(best - 0.1), value(best + 0.1), value(logit)) + 1e-9


def test_an_extreme_logit_has_a_finite_gradient() -> None:
    logits = torch.tensor([200.0, -200.0], requires_grad=True)
    gate_objective(logits, torch.ones(2), torch.ones(2), 0.5, 1.0).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def half(seed: int, tokens: int) -> tuple[NextTokens, torch.Tensor, Half]:
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(tokens, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.randint(5, (tokens,), generator=draw)
    losses = fused_loss(NextTokens(features, weight), target, Objective())
    return NextTokens(features.detach(), weight), target, Half(losses.by_token, losses.slopes, features.detach())


def test_held_out_costs_are_the_first_order_of_a_step() -> None:
    """Against a step of gradient descent on one token, in the matrix A of an output layer W·(I + A)."""
    held_out, held_out_target, gold = half(1, 6)
    student, target, sentence = half(2, 4)
    signal = Signal("held_out")
    signal.update((1, 1), (1, 6), gold)
    costs, _ = signal.costs(sentence, sentence)

    def nll(model: NextTokens, rows: slice, wanted: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        logits = (model.features[rows] + model.features[rows] @ matrix.t()) @ model.weight.t()
        return torch.nn.functional.cross_entropy(logits, wanted[rows], reduction="sum")

    for token, cost in enumerate(costs.tolist()):
        matrix = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
        row = slice(token, token + 1)
        (slope,) = torch.autograd.grad(nll(student, row, target, matrix), matrix)
        step = 1e-5
        after, before = (
            nll(held_out, slice(None), held_out_target, -sign * step * slope).item() / 6 for sign in (1, -1)
        )
        assert cost == pytest.approx((after - before) / (2 * step), rel=1e-5, abs=1e-8)


def test_running_means_are_over_tokens_and_come_with_the_state() -> None:
    signal = Signal("normalised")
    (*_, one), (*_, other) = half(1, 3), half(2, 4)
    assert all(cost.abs().sum() == 0 for cost in signal.scaled(signal.costs(one, other)))
    signal.update((6.0, 40.0), (3, 4))
    signal.update((2.0, 10.0), (1, 2))
    restored = Signal("normalised")
    restored.load_state_dict(signal.state_dict())
    means = ((0.99 * 6 + 2) / (0.99 * 3 + 1), (0.99 * 40 + 10) / (0.99 * 4 + 2))
    for found in (signal, restored):
        costs = found.scaled(found.costs(one, other))
        torch.testing.assert_close(costs[0], one.by_token / means[0])
        torch.testing.assert_close(costs[1], other.by_token / means[1])


def test_held_out_costs_have_a_running_direction_and_one_divisor() -> None:
    """The direction is 0.99 of that before and 0.01 of the new; both costs are in one unit, to be compared."""
    signal = Signal("held_out")
    (*_, first), (*_, second), (*_, one), (*_, other) = half(1, 3), half(2, 4), half(3, 5), half(4, 2)
    signal.update((6.0, 40.0), (3, 4), first)
    signal.update((2.0, 10.0), (1, 2), second)
    outer = [torch.einsum("ti,tj->ij", found.slopes, found.features) / len(found.features) for found in (first, second)]
    direction = 0.99 * outer[0] + 0.01 * outer[1]
    mean = (0.99 * (6 + 40) + 2 + 10) / (0.99 * (3 + 4) + 1 + 2)
    for found, asked in zip(signal.scaled(signal.costs(one, other)), (one, other), strict=True):
        wanted = -torch.einsum("ti,ij,tj->t", asked.slopes, direction, asked.features) / mean
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("before", "now"), [("held_out", "normalised"), ("normalised", "held_out")])
@pytest.mark.parametrize("tells_its_kind", [False, True], ids=["earlier", "now"])
def test_running_means_of_another_signal_start_anew(
    before: str, now: str, tells_its_kind: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A cost of the one is hundreds of times as large as one of the other: the gate would jump to one side."""
    (*_, answer), saved, loaded = half(1, 3), Signal(before), Signal(now)
    saved.update((0.06, 0.4), (3, 4), answer if before == "held_out" else None)
    state = saved.state_dict()
    if not tells_its_kind:
        del state["_extra_state"]["held_out"]
    with caplog.at_level(logging.WARNING):
        loaded.load_state_dict(state)
    assert loaded.sizes.tolist() == loaded.tokens.tolist() == [0, 0] and loaded.direction is None
    assert f"--gate-signal {now}: the checkpoint's gate has running means of another signal" in caplog.text
    # Those of its own kind it takes without a word; loss and normalised keep the same sums.
    caplog.clear()
    for kind in {before, before.replace("normalised", "loss")}:
        same = Signal(kind)
        same.load_state_dict(state)
        assert same.sizes.tolist() == saved.sizes.tolist() and not caplog.text
