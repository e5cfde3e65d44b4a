"""Comparing with a teacher whose symbols are not the student's: spans of text, mapped and sorted distributions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fairseq_kd.losses.chunk import NextTokens, mean_log_probs
from fairseq_kd.losses.token_values import chunks_of, token_nll
from fairseq_kd.losses.truncation import temper

SUREST = -1e-6
"""Log-probability above which a span counts as this likely, so that log(1 − q) stays finite."""


@dataclass(frozen=True)
class Mapped(NextTokens):
    """A teacher's distributions over the student's symbols: p̃(k) is the sum of p(w) over all w that map to k.

    The teacher's symbols that map nowhere are left out; the softmax over the logits then divides by the mass of all
    others.

    Attributes:
        place: the student's symbol for each of the teacher's, shape (teacher's vocabulary,); ``size`` for nowhere.
        size: number of the student's symbols.
    """

    place: Tensor = field(kw_only=True)
    size: int = field(kw_only=True)

    @property
    def vocabulary(self) -> int:
        """Number of the student's symbols."""
        return self.size

    def logits(self, rows: slice, room: Tensor | None = None) -> Tensor:
        """Log-probabilities, less a constant per token, shape (rows, student's vocabulary); −∞ where p̃ is 0."""
        theirs = torch.softmax(super().logits(rows), dim=-1)  # (rows, teacher's vocabulary)
        # One column more takes what maps nowhere: (rows, student's vocabulary + 1).
        mapped = theirs.new_zeros(len(theirs), self.size + 1)
        mapped.index_add_(1, self.place, theirs)
        return mapped[:, :-1].log()

    def room(self, chunk: int) -> None:
        """No memory is used again: both vocabularies' distributions are there at once."""


def mapped(answer: NextTokens, place: Tensor, size: int) -> NextTokens:
    """``answer`` over the student's symbols; unchanged where the map changes nothing."""
    own = torch.arange(size, device=place.device)
    if len(place) == size and torch.equal(place, own):
        return answer
    return Mapped(answer.features, answer.weight, answer.bias, place=place, size=size)


def sorted_distance(teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """Σ_i |p_(i) − q_(i)|, both sorted in descending order, the shorter with zeros behind (ULD).

    Boizard et al. 2024, section 3: the Wasserstein distance where any symbol costs as much to turn into any other. It
    needs no common symbols.

    Args:
        teacher_log_probs: shape (tokens, teacher's vocabulary).
        student_log_probs: shape (tokens, student's vocabulary).

    Returns:
        Shape (tokens,), between 0 and 2.
    """
    p, q = (side.exp().sort(dim=-1, descending=True).values for side in (teacher_log_probs, student_log_probs))
    most = max(p.size(-1), q.size(-1))
    p, q = (torch.nn.functional.pad(side, (0, most - side.size(-1))) for side in (p, q))
    return (p - q).abs().sum(dim=-1)


def span_cross_entropy(teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """−P·log Q − (1 − P)·log(1 − Q) of spans' probabilities: the span against any other text in its place.

    It is the KL of the two events (the binarised f-divergence of Minixhofer et al. 2025) plus the teacher's entropy.

    Args:
        teacher_log_probs: log P, shape (spans,), without a gradient.
        student_log_probs: log Q, shape (spans,); at most :data:`SUREST` counts.
    """
    p = teacher_log_probs.exp()
    log_q = student_log_probs.clamp(max=SUREST)
    return -p * log_q + torch.expm1(teacher_log_probs) * _log_of_rest(log_q)


def _log_of_rest(log_q: Tensor) -> Tensor:
    """log(1 − q), exact for small and for large q."""
    # Each branch is finite everywhere below SUREST, so the one that is not taken has a finite gradient too.
    return torch.where(log_q > -math.log(2), torch.log(-torch.expm1(log_q)), torch.log1p(-log_q.exp()))


def span_log_probs(token_log_probs: Tensor, spans: Tensor, count: int) -> Tensor:
    """Log of the product of each span's conditional probabilities, shape (count,).

    Args:
        token_log_probs: of the spans' tokens, shape (tokens,).
        spans: each token's span, from 0, shape (tokens,).
        count: number of spans.
    """
    return token_log_probs.new_zeros(count).index_add(0, spans, token_log_probs)


def student_log_probs(model: NextTokens, target: Tensor, temperature: float, chunk_memory: float = 0) -> Tensor:
    """log q_τ of each target symbol, shape (tokens,), with a gradient; see :func:`token_nll`."""
    if temperature != 1.0:
        bias = None if model.bias is None else model.bias / temperature
        model = NextTokens(model.features / temperature, model.weight, bias)
    return -token_nll(model, target, chunk_memory)


def teacher_log_probs(
    models: Sequence[NextTokens], target: Tensor, temperature: float, chunk_memory: float = 0
) -> Tensor:
    """log p_τ of each target symbol under the mean of the models' probabilities, shape (tokens,), no gradient."""
    with torch.no_grad():
        values = [
            temper(mean_log_probs(models, rows), temperature).gather(1, target[rows, None]).squeeze(1)
            for rows in chunks_of(models[0], chunk_memory)
        ]
    return torch.cat(values) if values else models[0].features.new_zeros(0)
