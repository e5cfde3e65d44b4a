"""The parameters in a model and in a checkpoint: which are copies or tied, how many there are, and their classes.

The classes are those of pruning (See, Luong & Manning 2016, arXiv 1606.09274, section 3.1). See et al. sort the weights
of a stacked LSTM into source and target embeddings, each source and target layer, attention and softmax. This module
reads the same classes from fairseq's names: a Transformer's encoder-decoder attention is "attention", its
self-attention belongs to its layer. A tied matrix is one weight. It has a class of its own, named after all its uses.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

SIDES = {"encoder": "source", "decoder": "target"}
LAYER = re.compile(r"(?:encoder|decoder)\.(?:layers\.|lstm\.\w+_l)(\d+)")
ATTENTION = re.compile(r"decoder\.(layers\.\d+\.encoder_attn|attention)\.")
SOFTMAX = re.compile(r"decoder\.(output_projection|fc_out|adaptive_softmax|embed_out)\b")
UNSET = "_float_tensor"
"""A buffer that fairseq makes and never sets: any number is in it, also NaN. 0.12.2 has it for sinusoidal positions."""
BUFFERS = ("version", UNSET)
PADDING = 1
"""The index of ``<pad>`` in every fairseq dictionary."""


def is_parameter(name: str) -> bool:
    """Whether an entry of a checkpoint's model is a parameter, and no buffer."""
    return name.rpartition(".")[2] not in BUFFERS


def clear_unset_buffers(model: nn.Module) -> None:
    """Put zeros into buffers that fairseq leaves unset, so that equal trainings save equal checkpoints.

    Again after each loading of weights, where fairseq 0.12.2 makes them anew.
    """
    for module in model.modules():
        if UNSET in module._buffers:
            _clear(module)
            module.register_load_state_dict_post_hook(_clear)


def _clear(module: nn.Module, *_: Any) -> None:
    getattr(module, UNSET).zero_()


def freeze_embeddings(model: nn.Module) -> None:
    """Leave the embeddings of symbols and positions out of the training, and an output projection that shares them."""
    for name, parameter in model.named_parameters():
        if ".embed_tokens." in name or ".embed_positions." in name:
            parameter.requires_grad_(False)


def is_prunable(name: str, tensor: torch.Tensor) -> bool:
    """Matrices are pruned; biases and layer norms never are."""
    return is_parameter(name) and tensor.dim() > 1 and "bias" not in name.rpartition(".")[2]


def weight_class(name: str) -> str:
    """The class of a weight by its name in the checkpoint."""
    side = SIDES.get(name.partition(".")[0], name.partition(".")[0])
    layer = LAYER.match(name)
    if ".embed_tokens." in name:
        return f"{side} embeddings"
    if ".embed_positions." in name:
        return f"{side} positions"
    if SOFTMAX.match(name):
        return "softmax"
    if ATTENTION.match(name):
        return "attention"
    return f"{side} layer {int(layer[1]) + 1}" if layer else f"{side}, the rest"


def tied_names(model: Mapping[str, torch.Tensor]) -> dict[str, list[str]]:
    """The parameters of a checkpoint's model: under the first of its names, all the names that a parameter has.

    A checkpoint does not say what is tied, and one saved on a GPU holds a copy under each name: embeddings and softmax
    weights with equal values are taken for one matrix, as fairseq ties nothing else.
    """
    found: dict[str, list[str]] = {}
    for name, tensor in model.items():
        if not is_parameter(name):
            continue
        may_be_tied = tensor.dim() > 1 and weight_class(name).endswith(("embeddings", "softmax"))
        first = name
        if may_be_tied:
            first = next((other for other in found if torch.equal(model[other], tensor)), name)
        found.setdefault(first, []).append(name)
    return found


def classes(model: Mapping[str, torch.Tensor]) -> dict[str, list[list[str]]]:
    """Each class of prunable weights, with the names of each of its weights."""
    found: dict[str, list[list[str]]] = {}
    for first, names in tied_names(model).items():
        if is_prunable(first, model[first]):
            found.setdefault(" = ".join(dict.fromkeys(map(weight_class, names))), []).append(names)
    return found


def count_parameters(model: nn.Module) -> int:
    """How many parameters ``model`` has. A tied matrix counts once; buffers (sinusoidal positions) do not count."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_nonzero(model: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    """How many parameters a checkpoint's model has, and how many of them are not zero. A tied matrix counts once."""
    own = [model[name] for name in tied_names(model)]
    return sum(tensor.numel() for tensor in own), sum(int(tensor.count_nonzero()) for tensor in own)


def padding_zeros(name: str, tensor: torch.Tensor) -> int:
    """How many zeros of a weight are the embedding of ``<pad>``, which is zero without any pruning."""
    if not name.endswith(("embed_tokens.weight", "embed_positions.weight")):
        return 0
    return int((tensor[PADDING] == 0).sum())
