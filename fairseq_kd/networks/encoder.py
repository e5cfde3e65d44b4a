"""The states of a model's encoder; fairseq's architectures return them in different forms."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from fairseq.models import BaseFairseqModel
from torch import Tensor

from fairseq_kd.networks.distributions import evaluating, unwrap


@contextmanager
def encoder_outputs(model: BaseFairseqModel) -> Iterator[list[Any]]:
    """Collect the encoder's outputs of all forwards within the block. The model may be wrapped."""
    outputs: list[Any] = []
    handle = unwrap(model).encoder.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def encoder_states(output: Any) -> tuple[Tensor, Tensor]:
    """The last layer's states in an encoder's output, and the mask of real positions.

    The mask is the encoder's own, since some encoders put the padding on the other side.

    Returns:
        States of shape (batch, source length, width), and a mask of shape (batch, source length).
    """
    if not isinstance(output, dict):  # LSTM: a tuple, its states and mask (length, batch, …)
        return output[0].transpose(0, 1), ~output[3].t()
    states, padding = output["encoder_out"], output.get("encoder_padding_mask")
    if isinstance(states, tuple):  # fconv: keys and values, both (batch, length, width)
        states = states[0]
    else:
        states = (states[0] if isinstance(states, list) else states).transpose(0, 1)
    padding = (padding[0] if padding else None) if isinstance(padding, list) else padding
    real = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device) if padding is None else ~padding.bool()
    return states, real


@torch.no_grad()
def encoder_width(model: BaseFairseqModel, symbol: int) -> int:
    """Width of the encoder's states, measured by encoding one ``symbol``."""
    source = torch.full((1, 1), symbol, device=next(model.parameters()).device)
    with evaluating(model):
        output = model.encoder(source, src_lengths=torch.ones_like(source[0]))
    return encoder_states(output)[0].size(2)
