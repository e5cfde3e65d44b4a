"""What a gate reads, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from fairseq_kd.gates.inputs import Places


@dataclass(frozen=True)
class GateValues:
    """The gate's values for the tokens of both losses.

    Attributes:
        sentence: g at the tokens of the sentence-level loss, which weigh 1 − g; shape (distilled tokens,), without a
            gradient.
        token: g at the tokens of the token-level loss, which weigh g; shape (tokens of that loss,), without a gradient.
        logits: for a gate that learns, the logits behind ``sentence`` and then ``token``, with their gradient, shape
            (distilled tokens + tokens of the token-level loss,).
    """

    sentence: Tensor
    token: Tensor
    logits: Tensor | None = None


@dataclass(frozen=True)
class GateBatch:
    """One training batch, as a gate sees it.

    Attributes:
        gold: gold targets, shape (sentences, length), padded on the right.
        distilled: the teacher's output for the same sources, shape (sentences, its length), padded on the right. The
            sentence-level loss is on its tokens.
        on_distilled: whether the token-level loss is on the tokens of ``distilled`` too, and not on those of ``gold``.
        pad: the padding symbol.
        update: number of the current update, over all runs of a training.
        entropy: of the teacher's distribution at each token of the token-level loss, in nats, shape (its tokens,); None
            for a gate whose ``depends_on_input`` is False.
        encoder_states: gives the states of the student's encoder, shape (sentences, source length, width), and the mask
            of real source positions, shape (sentences, source length).
        counts: False in validation, and where the batch only stands in for one that this process does not have.
        chunk_memory: MiB of logits computed at a time, as for :func:`fairseq_kd.losses.fused.fused_loss`.
    """

    gold: Tensor
    distilled: Tensor
    on_distilled: bool
    pad: int
    update: int
    entropy: Tensor | None
    encoder_states: Callable[[], tuple[Tensor, Tensor]]
    counts: bool
    chunk_memory: float = 0.0

    @cached_property
    def sentence_places(self) -> Places:
        """Where the tokens of the sentence-level loss lie."""
        return Places.of(self.distilled.ne(self.pad))

    @cached_property
    def token_places(self) -> Places:
        """Where the tokens of the token-level loss lie."""
        return self.sentence_places if self.on_distilled else Places.of(self.gold.ne(self.pad))

    def of_sentences(self, by_sentence: Tensor) -> GateValues:
        """The values of a gate with one g a sentence, ``by_sentence`` of shape (sentences,)."""
        return GateValues(by_sentence[self.sentence_places.sentence], by_sentence[self.token_places.sentence])
