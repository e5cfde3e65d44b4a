"""What gives a learned gate its logit."""

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 32
"""Width of a learned gate's inner layer."""


class GateNetwork(nn.Module):
    """From encoder states to a gate's logit: layer norm, tanh layer, linear layer. At first g = ``start`` everywhere.

    ``lr_scale`` speeds the gate up. The stored weights are the effective ones divided by it. An optimiser whose step
    does not depend on the gradient's scale, such as Adam, then moves the effective weights faster by this factor, and
    plain SGD by its square (Karras et al. 2018, "Progressive Growing of GANs", section 4.1). A parameter group could
    not do this: fairseq sets one learning rate for all parameters.

    Args:
        width: of the input.
        start: g at the start, in (0, 1).
        lr_scale: the factor, above 0.
    """

    def __init__(self, width: int, start: float, lr_scale: float):
        super().__init__()
        self.lr_scale = lr_scale
        self.hidden, self.output = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, 1)
        with torch.no_grad():
            self.output.weight.zero_()
            self.output.bias.fill_(torch.logit(torch.tensor(start)))
            for parameter in self.parameters():
                parameter.div_(lr_scale)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (rows,), for inputs of shape (rows, width), in float32 or wider whatever the parameters are."""
        # Autocast would choose half precision for the linear layers.
        with torch.autocast(inputs.device.type, enabled=False):
            inner = torch.tanh(self._linear(self.hidden, functional.layer_norm(inputs, inputs.shape[-1:])))
            return self._linear(self.output, inner).squeeze(1)

    def _linear(self, layer: nn.Linear, inputs: Tensor) -> Tensor:
        return functional.linear(
            inputs, layer.weight.to(inputs.dtype) * self.lr_scale, layer.bias.to(inputs.dtype) * self.lr_scale
        )


class ScaledScalar(nn.Module):
    """One logit for every input, with the learning rate of :class:`GateNetwork`.

    Args:
        start: g at the start, in (0, 1).
        lr_scale: the factor, above 0.
    """

    def __init__(self, start: float, lr_scale: float):
        super().__init__()
        self.lr_scale = lr_scale
        # (1,): fairseq's legacy_ddp cannot reduce the gradient of a parameter without dimensions that is the only one.
        self.logit = nn.Parameter(torch.logit(torch.tensor([start])) / lr_scale)

    def forward(self, rows: int) -> Tensor:
        """The logit, once for each of ``rows``; shape (rows,), float32 or wider whatever the parameter is."""
        return (self.logit.to(torch.promote_types(self.logit.dtype, torch.float32)) * self.lr_scale).expand(rows)
