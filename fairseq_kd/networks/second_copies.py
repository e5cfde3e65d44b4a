"""The second copy of each encoder layer's weights that fairseq 0.12.2 keeps, and the fast path that reads it.

In 0.12.2 a Transformer's encoder layer has ``in_proj_weight``, ``fc1_weight`` and six more parameters beside its
modules. They are zero until weights are loaded, no loss reaches them, and a checkpoint holds them. Only the layer's
fast path reads them. It calls ``torch._transformer_encoder_layer_fwd``, whose signature torch 1.13 changed:
fairseq-generate then ends in "Mask Type should be defined". No other release takes these names in a checkpoint.

0.12.2 itself makes the copies again whenever it loads weights (``TransformerEncoderLayerBase._load_from_state_dict``),
so a checkpoint without them works everywhere.
"""

import re
from typing import Any

import torch
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from torch import nn

COPIED = {
    "in_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out_proj": ("self_attn.out_proj",),
    "fc1": ("fc1",),
    "fc2": ("fc2",),
}
"""The modules whose weights such a copy repeats."""
KINDS = ("weight", "bias")
COPY = re.compile(rf"(encoder\.layers\.\d+)\.({'|'.join(COPIED)})_({'|'.join(KINDS)})")
"""A copy's name in a checkpoint."""


def without_copies(model: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A checkpoint's model without the second copies of encoder weights that fairseq 0.12.2 saves.

    A copy goes only where the weights that it repeats are in the checkpoint too. Without any copy the result is
    ``model`` itself.
    """

    def is_copy(name: str) -> bool:
        match = COPY.fullmatch(name)
        if match is None:
            return False
        layer, copy, kind = match.groups()
        return all(f"{layer}.{module}.{kind}" in model for module in COPIED[copy])

    copies = set(filter(is_copy, model))
    return {name: tensor for name, tensor in model.items() if name not in copies} if copies else model


def keep_one_copy(model: nn.Module) -> None:
    """Take the second copies and the fast path out of ``model``, in every release of fairseq.

    The model then has the same parameters, optimizer state and checkpoint whichever release trains it. It still loads
    weights that come with copies, and ignores those.
    """
    for layer in model.modules():
        if not isinstance(layer, TransformerEncoderLayerBase):
            continue
        if hasattr(layer, "can_use_fastpath"):
            layer.can_use_fastpath = False
        for name in _names():
            layer._parameters.pop(name, None)
        layer._register_load_state_dict_pre_hook(_ignore_copies)


def _ignore_copies(state: dict[str, Any], prefix: str, *_: Any) -> None:
    """torch calls it inside a layer's loading, after 0.12.2 has added the copies to ``state``."""
    for name in _names():
        state.pop(prefix + name, None)


def _names() -> list[str]:
    return [f"{copy}_{kind}" for copy in COPIED for kind in KINDS]
