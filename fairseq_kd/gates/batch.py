"""What a gate reads, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from fairseq_kd.gates.inputs import Places


@dataclass(frozen=True)
class GateValues:
    """The gate's values for the tokens of both target sequences.

    Attributes:
        distilled: g of the distilled tokens, shape (distilled tokens,), without a gradient.
        gold: g of the gold tokens, shape (gold tokens,), without a gradient.
        logits: for a gate with a network, the logits behind ``distilled`` and then ``gold``, with their gradient, shape
            (distilled tokens + gold tokens,).
    """

    distilled: Tensor
    gold: Tensor
    logits: Tensor | None = None


@dataclass(frozen=True)
class GateBatch:
    """One training batch, as a gate sees it.

    Attributes:
        gold: gold targets, shape (sentences, length), padded on the right.
        distilled: the teacher's output for the same sources, shape (sentences, its length), padded on the right.
        pad: the padding symbol.
        update: number of the current update, over all runs of a training.
        entropy: of the teacher's distribution at each gold token, in nats, shape (gold tokens,); None for a gate whose
            ``depends_on_input`` is False.
        encoder_states: gives the states of the student's encoder, shape (sentences, source length, width), and the mask
            of real source positions, shape (sentences, source length).
        counts: False in validation, and where the batch only stands in for one that this process does not have.
        chunk_memory: MiB of logits computed at a time, as for :func:`fairseq_kd.losses.fused.fused_loss`.
    """

    gold: Tensor
    distilled: Tensor
    pad: int
    update: int
    entropy: Tensor | None
    encoder_states: Callable[[], tuple[Tensor, Tensor]]
    counts: bool
    chunk_memory: float = 0.0

    @cached_property
    def gold_places(self) -> Places:
        """Where the gold tokens lie."""
        return Places.of(self.gold.ne(self.pad))

    @cached_property
    def distilled_places(self) -> Places:
        """Where the distilled tokens lie."""
        return Places.of(self.distilled.ne(self.pad))

    def of_sentences(self, by_sentence: Tensor) -> GateValues:
        """The values of a gate with one g a sentence, ``by_sentence`` of shape (sentences,)."""
        return GateValues(by_sentence[self.distilled_places.sentence], by_sentence[self.gold_places.sentence])
