"""The states of a model's encoder, whatever form fairseq's encoders give them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from fairseq.models import BaseFairseqModel
from torch import Tensor

from fairseq_kd.distributions import unwrap
from fairseq_kd.rollouts import evaluating


@contextmanager
def encoder_outputs(model: BaseFairseqModel) -> Iterator[list[Any]]:
    """Collects what the model's encoder gives in the forwards made meanwhile, wrapped for several processes or not."""
    outputs: list[Any] = []
    handle = unwrap(model).encoder.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def encoder_states(output: Any) -> Tensor:
    """The last layer's states in an encoder's output, shape (batch, source length, width)."""
    if not isinstance(output, dict):  # LSTM: a tuple, the states (length, batch, width) first
        return output[0].transpose(0, 1)
    states = output["encoder_out"]
    if isinstance(states, tuple):  # fconv: keys and values, both (batch, length, width)
        return states[0]
    return (states[0] if isinstance(states, list) else states).transpose(0, 1)


@torch.no_grad()
def encoder_width(model: BaseFairseqModel, symbol: int) -> int:
    """Width of the encoder's states, found by encoding one ``symbol``."""
    source = torch.full((1, 1), symbol, device=next(model.parameters()).device)
    with evaluating(model):
        output = model.encoder(source, src_lengths=torch.ones_like(source[0]))
    return encoder_states(output).size(2)
