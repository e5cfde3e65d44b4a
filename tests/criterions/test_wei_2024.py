"""The method of Wei et al. 2024 to the letter: eqs. 1 to 4 in a float64 loop over sentences and tokens.

The options are those that docs/explanation/hybrid.md names for it.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.hybrid import ROWS, setup
from tests.support.models import batch

PAPER = ("--kd-alpha", "1", "--gate-prior-weight", "0", "--gate-trains-encoder")


def paper_loss(task: Any, model: Any, criterion: Any, sample: dict[str, Any], on_distilled: bool) -> Tensor:
    """Σ_x L(x), with gradients of torch alone; the model without dropout."""
    pad, eos = task.target_dictionary.pad(), task.target_dictionary.eos()
    (teacher,) = task._teacher.models
    total = torch.zeros((), dtype=torch.float64)
    for row in range(len(sample["target"])):
        source = sample["net_input"]["src_tokens"][row]
        source = source[source != pad][None]
        lengths = torch.tensor([source.size(1)])
        gold, distilled = ([int(s) for s in sample[name][row] if s != pad] for name in ("target", "distilled"))

        def log_probs(network: Any, symbols: list[int]) -> Tensor:
            previous = torch.tensor([[eos, *symbols[:-1]]])
            return network(source, lengths, previous)[0][0].log_softmax(dim=-1)  # noqa: B023

        # Eq. 1: z is the gate's network on the mean of the encoder's states.
        states = model.encoder(source, lengths)["encoder_out"][0][:, 0]  # (source length, width)
        network, mean = criterion.gate.network, states.mean(dim=0)
        normal = (mean - mean.mean()) / (mean.var(unbiased=False) + 1e-5).sqrt()
        z = network.output.bias + network.output.weight[0] @ torch.tanh(
            network.hidden.weight @ normal + network.hidden.bias
        )
        g = 1 / (1 + torch.exp(-z[0]))
        # Eq. 2, on the prefixes of either reading.
        prefixes = distilled if on_distilled else gold
        p, q = log_probs(teacher, prefixes).exp(), log_probs(model, prefixes)
        token = -sum((p[step] * q[step]).sum() for step in range(len(prefixes)))
        # Eq. 3.
        own = log_probs(model, distilled)
        sentence = -sum(own[step, symbol] for step, symbol in enumerate(distilled))
        # Eq. 4.
        total = total + g * token + (1 - g) * sentence
    return total


@pytest.mark.parametrize("prefixes", ["gold", "distilled"])
@pytest.mark.parametrize("level", ["sentence"])
def test_eq_4_with_the_gradient_of_every_parameter(
    tiny_corpus: Path, distilled: Path, prefixes: str, level: str
) -> None:
    options = (*PAPER, "--gate-token-prefixes", prefixes, "--gate-level", level)
    task, model, criterion = setup(tiny_corpus, distilled, "free", *options, dtype=torch.float64)
    model.eval()  # no dropout
    sample = batch(task, "train", ROWS)
    parameters = [*model.parameters(), *criterion.parameters()]
    expected = paper_loss(task, model, criterion, sample, prefixes == "distilled")
    slopes = torch.autograd.grad(expected, parameters, allow_unused=True)
    loss, sample_size, log = criterion(model, sample)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-7)
    assert log["loss"].item() == pytest.approx(expected.item(), rel=1e-7)
    loss.backward()
    for parameter, slope in zip(parameters, slopes, strict=True):
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, torch.zeros_like(found) if slope is None else slope, rtol=1e-6, atol=1e-7)
    gate = [parameter.grad.abs().max() for parameter in criterion.parameters()]
    assert min(gate) > 1e-3, "every weight of the gate learns"
    tokens = {name: int(sample[name].ne(task.target_dictionary.pad()).sum()) for name in ("target", "distilled")}
    if prefixes == "distilled":
        assert float(sample_size) == pytest.approx(tokens["distilled"], rel=1e-6)
