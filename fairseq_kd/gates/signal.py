"""What a learned gate minimises: the cost of each loss, and a prior that keeps the gate from choosing one for good."""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

logger = logging.getLogger(__name__)

SIGNALS = ("loss", "normalised", "held_out")
DECAY = 0.99
"""Of the running sums at each update, which thus cover about 100 updates."""


def gate_objective(logits: Tensor, costs: Tensor, shares: Tensor, prior: float, prior_weight: float) -> Tensor:
    """Σ share · (g · cost + prior_weight · KL(g‖prior)), g = sigmoid(logit); a scalar.

    Without the prior, the minimum is at g = 0 where the cost is positive and at g = 1 where it is negative. With the
    prior, it is where logit(g) = logit(prior) − cost / prior_weight.

    Args:
        logits: shape (tokens,).
        costs: of the token-level loss less that of the sentence-level loss, for each token, shape (tokens,).
        shares: the tokens' weights in the sum, shape (tokens,).
        prior: the value that g is drawn to, in (0, 1).
        prior_weight: in the unit of the costs; 0 or more.
    """
    # KL(g‖prior) = g·(logit g − logit prior) + log(1 − g) − log(1 − prior); −log(1 − sigmoid(z)) = softplus(z) is
    # finite for every logit.
    g, prior_logit = logits.sigmoid(), torch.logit(logits.new_tensor(prior))
    kl = g * (logits - prior_logit) + functional.softplus(prior_logit) - functional.softplus(logits)
    return (shares * (g * costs + prior_weight * kl)).sum()


@dataclass(frozen=True)
class Half:
    """One of the two losses, token by token.

    Attributes:
        by_token: each token's loss in nats, shape (tokens,).
        slopes: its gradient with respect to the token's features, shape (tokens, width); None where nothing learns.
        features: the student's features at the tokens, shape (tokens, width), without a gradient.
    """

    by_token: Tensor
    slopes: Tensor | None
    features: Tensor


class Signal(nn.Module):
    """The cost of each token under either loss, as the learned gate minimises it.

    - ``loss``: the token's loss. The gate then chooses the smaller of the two losses.
    - ``normalised``: the token's loss, divided by the running mean of that kind of loss.
    - ``held_out``: how much a gradient step on the token raises the student's NLL of the validation set's targets. To
      first order that is −⟨∇loss, ∇NLL⟩ (Ren et al. 2018, "Learning to Reweight Examples", weigh examples so); it is
      divided by the running mean of its size. ∇NLL is a running mean over batches of the validation set, one an update.
      Both gradients are with respect to a matrix A at 0 in an output layer W·(I + A). This costs a product of
      (tokens, width) and (width, width).

    Running means change between updates only, by sums over all processes. The costs are therefore the same however the
    batches are cut. Before the first update all costs are 0, except those of ``loss``.
    """

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self.sizes = torch.zeros(2, dtype=torch.float64)
        """Running sums of the costs' absolute values, of the sentence-level and of the token-level loss."""
        self.tokens = torch.zeros(2, dtype=torch.float64)
        """Running sums of the tokens, likewise."""
        self.direction: Tensor | None = None
        """Running mean of ∇NLL, shape (width, width)."""

    def costs(self, sentence: Half, token: Half) -> tuple[Tensor, Tensor]:
        """The tokens' costs before :meth:`scaled`, shape (tokens,) each."""
        if self.kind != "held_out":
            return sentence.by_token, token.by_token
        return self._harm(sentence), self._harm(token)

    def _harm(self, half: Half) -> Tensor:
        if self.direction is None or half.slopes is None:
            return torch.zeros_like(half.by_token)
        self.direction = self.direction.to(half.slopes)
        # A token's ∇loss is slope ⊗ feature; ⟨slope ⊗ feature, direction⟩ = slopeᵀ · direction · feature, (tokens,).
        return -(half.slopes @ self.direction * half.features).sum(dim=1)

    def scaled(self, costs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The same costs, divided by their running means."""
        if self.kind == "loss":
            return costs
        sizes, tokens = self.sizes, self.tokens
        if self.kind == "held_out":  # one divisor for both, or the two costs could not be compared
            sizes, tokens = (both.sum().expand(2) for both in (sizes, tokens))
        means = [float(size / count) if size > 0 else torch.inf for size, count in zip(sizes, tokens, strict=True)]
        return costs[0] / means[0], costs[1] / means[1]

    def update(self, sizes: tuple[Any, Any], tokens: tuple[Any, Any], held_out: Half | None = None) -> None:
        """Bring the running means up to date after an update.

        Args:
            sizes: sums of the absolute costs, of the sentence-level and of the token-level loss, over all processes.
            tokens: numbers of tokens of the sentence-level and of the token-level loss, likewise.
            held_out: the NLL of a batch of the validation set, for the signal ``held_out``.
        """
        self.sizes = DECAY * self.sizes + torch.tensor([float(size) for size in sizes], dtype=torch.float64)
        self.tokens = DECAY * self.tokens + torch.tensor([float(count) for count in tokens], dtype=torch.float64)
        if held_out is not None:
            assert held_out.slopes is not None
            # The mean of slope ⊗ feature over the tokens: (width, tokens) @ (tokens, width).
            gradient = held_out.slopes.t() @ held_out.features.to(held_out.slopes.dtype) / len(held_out.features)
            self.direction = gradient if self.direction is None else self._mean(self.direction, gradient)

    @staticmethod
    def _mean(before: Tensor, now: Tensor) -> Tensor:
        return DECAY * before.to(now) + (1 - DECAY) * now

    def get_extra_state(self) -> dict[str, Any]:
        """The state that a resumed run starts from. It is not in buffers, which fairseq would turn into float16."""
        means = {"sizes": self.sizes, "tokens": self.tokens, "direction": self.direction}
        return {"held_out": self.kind == "held_out", **means}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Start from the state of :meth:`get_extra_state`, unless its means are of other costs: held-out ones, or not.

        Earlier states do not tell which, but those of ``held_out`` have a direction.
        """
        if state.get("held_out", state["direction"] is not None) != (self.kind == "held_out"):
            logger.warning(
                "--gate-signal %s: the checkpoint's gate has running means of another signal; they start anew",
                self.kind,
            )
            return
        self.sizes, self.tokens, self.direction = state["sizes"], state["tokens"], state["direction"]
