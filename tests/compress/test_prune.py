"""Which weights the three schemes set to zero, against loops over their definitions in float64."""

import math
import statistics
from typing import Any

import pytest
import torch

from fairseq_kd.compress.prune import SCHEMES, choose, prune_model
from fairseq_kd.errors import UserError
from fairseq_kd.networks.parameters import classes, count_nonzero, count_parameters, is_prunable
from tests.support.models import ARCHITECTURES, build

SIZES = {"wide": 300, "narrow": 157, "flat": 40}
NO_PADDING = dict.fromkeys(SIZES, 0)


def weights(decimals: int = 9) -> dict[str, torch.Tensor]:
    """Three classes of different spread; with few decimals many magnitudes are equal."""
    draw = torch.Generator().manual_seed(2)
    spread = {"wide": 1.0, "narrow": 0.1, "flat": 0.5}
    return {
        name: torch.randn(size, generator=draw).mul(spread[name]).round(decimals=decimals)
        for name, size in SIZES.items()
    }


def pruned(values: dict[str, torch.Tensor], sparsity: float, scheme: str) -> tuple[dict[str, list[bool]], float | None]:
    chosen, factor = choose(values, NO_PADDING, sparsity, scheme)
    assert chosen.keys() == values.keys()
    return {name: mask.tolist() for name, mask in chosen.items()}, factor


def split(values: torch.Tensor, mask: list[bool], divisor: float = 1.0) -> tuple[list[float], list[float]]:
    """The magnitudes that go and those that stay, each with an infinity that changes no maximum or minimum."""
    magnitudes = [abs(value) / divisor for value in values.double().tolist()]
    gone = [m for m, out in zip(magnitudes, mask, strict=True) if out]
    left = [m for m, out in zip(magnitudes, mask, strict=True) if not out]
    return [-math.inf, *gone], [*left, math.inf]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("decimals", [9, 1], ids=["distinct", "many ties"])
@pytest.mark.parametrize("sparsity", [0.0, 0.001, 0.06, 0.4, 0.5, 0.8, 0.999])
def test_the_number_of_zeros_is_exact(scheme: str, decimals: int, sparsity: float) -> None:
    values = weights(decimals)
    wanted = round(sparsity * sum(SIZES.values()))
    zeros = sum(int((value == 0).sum()) for value in values.values())
    if zeros > wanted or (scheme == "class-uniform" and decimals == 1 and sparsity < 0.4):
        with pytest.raises(UserError, match="pruned further already"):
            pruned(values, sparsity, scheme)
        return
    chosen, _ = pruned(values, sparsity, scheme)
    assert sum(map(sum, chosen.values())) == wanted


@pytest.mark.parametrize("decimals", [9, 2])
@pytest.mark.parametrize("sparsity", [0.3, 0.8])
def test_class_blind_is_one_threshold(decimals: int, sparsity: float) -> None:
    values = weights(decimals)
    chosen, factor = pruned(values, sparsity, "class-blind")
    gone, left = zip(*(split(values[name], chosen[name]) for name in SIZES), strict=True)
    assert max(map(max, gone)) <= min(map(min, left)) and factor is None
    assert sum(chosen["narrow"]) / SIZES["narrow"] > sparsity > sum(chosen["wide"]) / SIZES["wide"]


@pytest.mark.parametrize("sparsity", [0.3, 0.8])
def test_class_uniform_takes_the_same_share_of_each_class(sparsity: float) -> None:
    values = weights()
    chosen, factor = pruned(values, sparsity, "class-uniform")
    for name, size in SIZES.items():
        gone, left = split(values[name], chosen[name])
        assert abs(sum(chosen[name]) - sparsity * size) < 1 and max(gone) < min(left)
    assert factor is None


@pytest.mark.parametrize("sparsity", [0.3, 0.8])
def test_class_distribution_is_one_threshold_in_standard_deviations(sparsity: float) -> None:
    values = weights()
    values["narrow"] += 0.05  # the deviation is from the mean, the magnitude from zero
    chosen, factor = pruned(values, sparsity, "class-distribution")
    assert factor is not None
    for name in SIZES:
        gone, left = split(values[name], chosen[name], statistics.pstdev(values[name].double().tolist()))
        assert max(gone) <= factor * (1 + 1e-9) and min(left) >= factor * (1 - 1e-9)


def test_a_class_of_equal_weights_has_no_deviation() -> None:
    values = {"zero": torch.zeros(10), "flat": torch.ones(10), "wide": torch.linspace(-1, 1, 20)}
    chosen, _ = choose(values, dict.fromkeys(values, 0), 0.5, "class-distribution")
    assert [int(mask.sum()) for mask in chosen.values()] == [10, 0, 10]


def test_the_embedding_of_padding_is_no_pruning() -> None:
    """A dense model's zeros do not make it one that was pruned further."""
    values = {"embeddings": torch.cat([torch.zeros(5), torch.ones(5)])}
    chosen, _ = choose(values, {"embeddings": 5}, 0.0, "class-uniform")
    assert chosen["embeddings"].tolist() == [True] * 5 + [False] * 5
    with pytest.raises(UserError, match="5 of the 10 weights of class 'embeddings' are zero, more than the 0 of this"):
        choose(values, {"embeddings": 4}, 0.0, "class-uniform")


TYING = {
    "untied": (),
    "decoder tied": ("--share-decoder-input-output-embed",),
    "all tied": ("--share-all-embeddings",),
    "learned positions": ("--encoder-learned-pos", "--decoder-learned-pos"),
}


def checkpoint_model(model: Any) -> dict[str, torch.Tensor]:
    """As fairseq saves it on a GPU: a copy under each name."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("tying", TYING)
def test_tied_matrices_count_and_are_pruned_once(tiny_corpus: Any, tying: str) -> None:
    _, model, _ = build(tiny_corpus, *TYING[tying])
    state = checkpoint_model(model)
    assert count_nonzero(state)[0] == count_parameters(model)
    padding = sum(int((weight[1] == 0).sum()) for name, weight in model.named_parameters() if "embed" in name)
    before = checkpoint_model(model)
    report = prune_model(state, 0.6, "class-blind")
    for group, figures in report["classes"].items():
        names = [name for weights in classes(state)[group] for name in weights]
        gone = torch.cat([before[name][state[name] == 0] for name in names])
        assert figures["threshold"] == float(gone.abs().max())
    model.load_state_dict(state)
    prunable = {name: weight for name, weight in model.named_parameters() if is_prunable(name, weight)}
    assert report["prunable"] == sum(weight.numel() for weight in prunable.values())
    zeros = sum(int((weight == 0).sum()) for weight in prunable.values())
    assert zeros == round(0.6 * report["prunable"]) > padding
    assert report["nonzero"] == sum(int(weight.count_nonzero()) for weight in model.parameters())
    assert sum(figures["nonzero"] for figures in report["classes"].values()) == report["prunable"] - zeros
    again = checkpoint_model(model)
    assert prune_model(again, 0.6, "class-blind")["nonzero"] == report["nonzero"]
    assert all(torch.equal(again[name], state[name]) for name in state)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_is_counted(tiny_corpus: Any, architecture: str) -> None:
    _, model, _ = build(tiny_corpus, architecture=architecture)
    assert count_nonzero(model.state_dict())[0] == count_parameters(model)


def test_the_classes_of_a_transformer_and_of_an_lstm(tiny_corpus: Any) -> None:
    for architecture in ("transformer", "lstm"):
        _, model, _ = build(tiny_corpus, architecture=architecture)
        found = classes(model.state_dict())
        expected = {
            "source embeddings",
            "target embeddings",
            "source layer 1",
            "target layer 1",
            "attention",
            "softmax",
        }
        assert found.keys() - {"target, the rest"} == expected
        pruned_names = [name for weights in found.values() for names in weights for name in names]
        assert pruned_names and not any("bias" in name or "norm" in name for name in pruned_names)
    _, model, _ = build(tiny_corpus, "--share-all-embeddings")
    assert "source embeddings = target embeddings = softmax" in classes(model.state_dict())


def test_normalised_weights_and_none_are_refused(tiny_corpus: Any) -> None:
    _, model, _ = build(tiny_corpus, architecture="fconv")
    with pytest.raises(UserError, match="weights are normalised"):
        prune_model(model.state_dict(), 0.5, "class-blind")
    with pytest.raises(UserError, match="no weights to prune"):
        prune_model({"encoder.layers.0.fc1.bias": torch.ones(3)}, 0.5, "class-blind")
