"""``--keep-zeros``: training leaves pruned weights at zero."""

from collections.abc import Iterator
from typing import Any

import torch
from fairseq.optim import FP16Optimizer
from torch import nn

from fairseq_kd.errors import UserError
from fairseq_kd.networks.parameters import is_prunable, padding_zeros


class PrunedWeights:
    """The weights that are zero when a training starts or resumes. They stay zero.

    A hook sets their gradient to zero before it is accumulated. Neither the gradient's norm (and with it clipping) nor
    the optimizer's moments see them. After each step they are set to zero again, in fairseq's float32 copies too. An
    average of the model (``--store-ema``) that starts at the pruned model, as it does from `fairseq-kd prune`'s
    checkpoint, has the same zeros.
    """

    def __init__(self, model: nn.Module):
        """Remember the zeros of ``model``, which must not be wrapped for several processes.

        Raises:
            UserError: no weight is zero except in the embeddings of padding.
        """
        weights = {name: weight for name, weight in model.named_parameters() if is_prunable(name, weight)}
        self.zeros = {weight: weight.detach() == 0 for weight in weights.values()}
        pruned = sum(int(zeros.sum()) for zeros in self.zeros.values())
        if pruned <= sum(padding_zeros(name, weight.detach()) for name, weight in weights.items()):
            raise UserError(
                "--keep-zeros: no weight is zero; start from a checkpoint of fairseq-kd prune "
                "(--finetune-from-model CKPT)"
            )
        trained = {weight: zeros for weight, zeros in self.zeros.items() if weight.requires_grad}
        for weight, zeros in trained.items():  # of frozen ones (--encoder-freeze-embed) there is no gradient
            weight.register_hook(lambda gradient, zeros=zeros: gradient.masked_fill(zeros, 0))

    @torch.no_grad()
    def reset(self, optimizer: Any) -> None:
        """Set the weights to zero again, after a step of fairseq's ``optimizer``."""
        for weight, zeros in self.zeros.items():
            weight.masked_fill_(zeros, 0)
        for weight, master in masters(optimizer):
            if weight in self.zeros:
                master.masked_fill_(self.zeros[weight], 0)


def masters(optimizer: Any) -> Iterator[tuple[nn.Parameter, torch.Tensor]]:
    """Each half-precision parameter with its float32 copy, which ``--fp16`` and ``--bf16`` train.

    fairseq keeps one copy per parameter, or one flat vector per device with all copies in the parameters' order.
    """
    if not isinstance(optimizer, FP16Optimizer):
        return
    if not optimizer.has_flat_params:
        yield from zip(optimizer.fp16_params, optimizer.fp32_params, strict=True)
        return
    for device, flat in optimizer.fp32_params.items():
        own = [weight for weight in optimizer.fp16_params if weight.device.index == device]
        parts = flat.detach().split([weight.numel() for weight in own])
        yield from ((weight, part.view_as(weight)) for weight, part in zip(own, parts, strict=True))
