"""Layers of Transformers: those that a student copies, those that it learns from, and their outputs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.models import BaseFairseqModel
from fairseq.models.transformer import TransformerConfig, TransformerModelBase
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import architecture_of
from fairseq_kd.networks.distributions import unwrap

SIDES = ("encoder", "decoder")


@dataclass(frozen=True)
class Stack:
    """The layers of an encoder or a decoder: their number, and the width of their outputs."""

    layers: int
    width: int


def copied_layers(student: int, teacher: int) -> list[int]:
    """The teacher layers, from 0, that a student of fewer layers starts from, spaced as widely as can be.

    Student layer i of n gets layer ⌊i·(L−1)/(n−1) + ½⌋ of the teacher's L: the first, the last, and evenly between; one
    layer alone gets the teacher's first. After Shleifer & Rush 2020 (arXiv 2010.13002), who choose maximally spaced
    layers by hand. For 1, 3 and 6 of 12, for 2, 3, 4 and 6 of 16 and for 2 of 6, these are theirs; for other numbers
    they are near theirs.
    """
    if student == 1:
        return [0]
    return [(2 * layer * (teacher - 1) + student - 1) // (2 * (student - 1)) for layer in range(student)]


def matched_layers(student: int, teacher: int) -> list[int]:
    """The teacher layer, from 0, whose output each student layer should reproduce.

    Student layer i reproduces the teacher layer just before the one that :func:`copied_layers` names for i + 1. So
    student layer i + 1 reads what it read in the teacher. The last layer reproduces the teacher's last. Shleifer &
    Rush's code compares each layer's input with that of the layer it was copied from, which is the same but for the
    last layer.
    """
    return [following - 1 for following in [*copied_layers(student, teacher)[1:], teacher]]


def transformer_config(model: Any) -> TransformerConfig | None:
    """A recorded model configuration in fairseq's structured form; None unless the model is a Transformer."""
    _, built = architecture_of(model)
    if built is None or not issubclass(built, TransformerModelBase):
        return None
    return TransformerConfig.from_namespace(model)


def stacks(config: TransformerConfig) -> dict[str, Stack]:
    """Its layers, by side."""
    return {side: Stack(getattr(config, side).layers, getattr(config, side).embed_dim) for side in SIDES}


@dataclass
class HiddenStates:
    """Each layer's output in one forward, first to last, shape (length, batch, width). Padding holds any value.

    A model that normalises before its layers (pre-norm) normalises once more after the last layer. These states are
    taken before that.
    """

    encoder: list[Tensor] = field(default_factory=list)
    decoder: list[Tensor] = field(default_factory=list)


@contextmanager
def hidden_states(model: BaseFairseqModel) -> Iterator[HiddenStates]:
    """The hidden states of one forward of ``model``, a Transformer, wrapped or not. The forward runs within the block.

    Raises:
        UserError: at the end of the block, where the forward left layers out (LayerDrop).
    """
    bare, states = unwrap(model), HiddenStates()
    # The first of both is what the embeddings give. transformer_align's own forward does not ask the encoder for them.
    hooks = [
        bare.encoder.register_forward_pre_hook(
            lambda _, given, named: (given, {**named, "return_all_hiddens": True}), with_kwargs=True
        ),
        bare.encoder.register_forward_hook(lambda _, __, output: states.encoder.extend(output["encoder_states"][1:])),
        bare.decoder.register_forward_hook(lambda _, __, output: states.decoder.extend(output[1]["inner_states"][1:])),
    ]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()
    if (len(states.encoder), len(states.decoder)) != (bare.encoder.num_layers, bare.decoder.num_layers):
        raise UserError(
            "LayerDrop leaves layers out, so that their hidden states cannot be matched; "
            "train without --encoder-layerdrop and --decoder-layerdrop"
        )


def squared_error(
    student: list[Tensor], teacher: list[Tensor], weight: Tensor, to_teacher: nn.Module, normalise: bool = False
) -> Tensor:
    """Σ over positions of weight · mean over the width of (student − teacher)², summed over matched layers.

    Args:
        student: its layers' outputs, each (length, batch, width).
        teacher: the same of at least as many layers; no gradient flows there.
        weight: of each position, shape (batch, length); where it is 0 nothing is read.
        to_teacher: maps the student's width to the teacher's.
        normalise: whether each state is brought to mean 0 and variance 1 over the width before.

    Returns:
        A scalar, float32 or wider.
    """
    kept = weight.t().flatten().nonzero().squeeze(1)
    weights = weight.t().flatten()[kept]
    total = weights.new_zeros(())
    for own, layer in zip(student, matched_layers(len(student), len(teacher)), strict=True):
        rows = to_teacher(own.flatten(0, 1).index_select(0, kept))
        wanted = teacher[layer].flatten(0, 1).index_select(0, kept)
        wide = torch.promote_types(rows.dtype, torch.float32)
        rows, wanted = rows.to(wide), wanted.to(wide)
        if normalise:
            rows, wanted = (layer_norm(states, states.shape[1:]) for states in (rows, wanted))
        total = total + (rows - wanted).square().mean(dim=1) @ weights.to(wide)
    return total
