"""What a learned gate minimises: what each half costs, and a prior that keeps the gate from picking one for good."""

from dataclasses import dataclass
from typing import Any

import torch
from fairseq.distributed import utils as distributed
from torch import Tensor, nn
from torch.nn import functional

SIGNALS = ("loss", "normalised", "held_out")
DECAY = 0.99
"""Of the running sums, at every update: they remember about 100."""


def gate_objective(logits: Tensor, costs: Tensor, shares: Tensor, prior: float, prior_weight: float) -> Tensor:
    """Σ share · (g · cost + prior_weight · KL(g‖prior)), g = sigmoid(logit); a scalar.

    Without the prior, its minimum is at g = 0 or 1 for whatever the sign of the cost is. With it, it is where
    logit(g) = logit(prior) − cost / prior_weight.

    Args:
        logits: shape (tokens,).
        costs: of giving a token to the sentence's loss rather than to the token's, shape (tokens,).
        shares: of the tokens in the sum, shape (tokens,).
        prior: in (0, 1), what g is drawn to.
        prior_weight: in the unit of the costs; 0 or more.
    """
    g, prior_logit = logits.sigmoid(), torch.logit(logits.new_tensor(prior))
    kl = g * (logits - prior_logit) + functional.softplus(prior_logit) - functional.softplus(logits)
    return (shares * (g * costs + prior_weight * kl)).sum()


@dataclass(frozen=True)
class Half:
    """What a loss says of the tokens of one of the two sequences: values, slopes and the features they are of."""

    by_token: Tensor
    slopes: Tensor | None
    features: Tensor


class Signal(nn.Module):
    """What a learned gate is told that the tokens of either half cost.

    - ``loss``: their loss. The gate then picks the half of the smaller loss.
    - ``normalised``: their loss, over the running mean of that half's.
    - ``held_out``: how much training on them raises the student's NLL of other gold targets: −⟨∇loss, ∇NLL⟩, the first
      order of a gradient step (as Ren et al. 2018, "Learning to Reweight Examples", weigh examples), over the running
      mean of its size. ∇NLL is a running mean over earlier updates. Both gradients are taken with respect to a
      matrix A at 0 in an output layer W·(I + A), which costs a product of (tokens, width) and (width, width).

    What runs changes between updates only, and by the sums over all processes, so that the gate sees the same however
    the batches are cut. Until there is something to run on, nothing costs anything.
    """

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self.sizes = torch.zeros(2, dtype=torch.float64)
        """Running sums of the costs' sizes, the sentence's and the token's."""
        self.tokens = torch.zeros(2, dtype=torch.float64)
        self.direction: Tensor | None = None
        self.seen: Tensor | None = None

    def costs(self, sentence: Half, token: Half) -> tuple[Tensor, Tensor]:
        """The tokens' costs before :meth:`scaled`, shape (tokens,) each."""
        if self.kind != "held_out":
            return sentence.by_token, token.by_token
        return self._harm(sentence), self._harm(token)

    def _harm(self, half: Half) -> Tensor:
        if self.direction is None or half.slopes is None:
            return torch.zeros_like(half.by_token)
        self.direction = self.direction.to(half.slopes)
        return -(half.slopes @ self.direction * half.features).sum(dim=1)

    def scaled(self, costs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The same costs in units of their running means."""
        if self.kind == "loss":
            return costs
        sizes, tokens = self.sizes, self.tokens
        if self.kind == "held_out":  # one unit for both, or they could not be compared
            sizes, tokens = (both.sum().expand(2) for both in (sizes, tokens))
        means = [float(size / count) if size > 0 else torch.inf for size, count in zip(sizes, tokens, strict=True)]
        return costs[0] / means[0], costs[1] / means[1]

    def observe(self, gold: Half) -> None:
        """Take in the NLL of gold targets, for the updates to come."""
        assert gold.slopes is not None
        gradient = gold.slopes.t() @ gold.features.to(gold.slopes.dtype)
        self.seen = gradient if self.seen is None else self.seen + gradient

    def update(self, sizes: tuple[Any, Any], tokens: tuple[Any, Any]) -> None:
        """After an update: go on with its sums, over all batches and processes, of the costs' sizes and of tokens."""
        self.sizes = DECAY * self.sizes + torch.tensor([float(size) for size in sizes], dtype=torch.float64)
        self.tokens = DECAY * self.tokens + torch.tensor([float(count) for count in tokens], dtype=torch.float64)
        if self.seen is not None:
            if distributed.get_data_parallel_world_size() > 1:
                distributed.all_reduce(self.seen, distributed.get_data_parallel_group())
            # Its scale does not matter: what comes of it is divided by its running mean.
            mean = self.seen / float(tokens[1])
            self.direction = mean if self.direction is None else DECAY * self.direction + (1 - DECAY) * mean
            self.seen = None

    def get_extra_state(self) -> dict[str, Any]:
        """What a resumed run goes on from. It is no buffer: fairseq would make float16 of it."""
        return {"sizes": self.sizes, "tokens": self.tokens, "direction": self.direction}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        self.sizes, self.tokens, self.direction = state["sizes"], state["tokens"], state["direction"]
