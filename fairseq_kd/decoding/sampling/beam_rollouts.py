"""Sequences drawn from models with several beams at once: sampling with a beam."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fairseq_kd.decoding.options import Sampling
from fairseq_kd.decoding.sampling.stepping import Unfinished


@dataclass
class _Beams:
    """The unfinished sentences' beams, each (sentences, beam), and the best finished sequence of every sentence.

    Attributes:
        rows: of the unfinished sentences in the batch, shape (sentences,).
        prefixes: symbols behind the first ``</s>``, shape (sentences, beam, steps).
        scores: log-probabilities of the prefixes.
        best: the best finished sequence without its ``</s>``, shape (batch, longest).
        best_score: its log-probability divided by its tokens, ``</s>`` counted; shape (batch,).
        best_length: its tokens without ``</s>``, shape (batch,).
        ended: how many sequences a sentence has finished, shape (batch,).
    """

    rows: Tensor
    prefixes: Tensor
    scores: Tensor
    best: Tensor
    best_score: Tensor
    best_length: Tensor
    ended: Tensor

    def finish(self, where: Tensor, prefixes: Tensor, scores: Tensor, tokens: int) -> None:
        """Take finished sequences: where the mask is true, shape (sentences, any); ``tokens`` counts ``</s>``."""
        self.ended[self.rows] += where.sum(dim=1)
        score, place = (scores / tokens).masked_fill(~where, float("-inf")).max(dim=1)
        better = score > self.best_score[self.rows]
        rows, length = self.rows[better], prefixes.size(2)
        self.best_score[rows] = score[better]
        self.best_length[rows] = length
        self.best[rows, :length] = prefixes[better, place[better]]


def draw_beams(
    unfinished: Unfinished,
    sampling: Sampling,
    chances: Tensor,
    limits: Tensor,
    symbols: Any,
    min_len: int,
    beam: int,
) -> Tensor:
    """Sampling with a beam, as Hugging Face's ``generate`` does it.

    Each step draws 2 × beam continuations of a sentence's beams without replacement, in proportion to the probability
    of the whole sequences. The likeliest of them go on. A sentence ends with as many finished sequences as it has
    beams, or at its length limit. The sequence with the largest log-probability per token is taken. So the sequences
    are likelier than samples of the model, and less varied. Wen et al.'s scripts draw the student's sequences so.

    Args:
        unfinished: all sentences of the batch.
        sampling: its ``top_k``, of at least 2, is taken of each beam; ``top_p`` is not read.
        chances: random numbers in [0, 1) of each step, shape (batch, steps, beam · top_k).
        limits: the most tokens before ``</s>``, shape (batch,); the longest is the number of steps.
        symbols: the target dictionary.
        min_len: the fewest tokens before ``</s>``.
        beam: number of beams, at least 2.

    Returns:
        Symbols, shape (batch, longest), each row ended by ``</s>`` and then padded.
    """
    size, longest = chances.shape[:2]
    rows = unfinished.rows
    beams = _Beams(
        rows=rows,
        prefixes=limits.new_zeros(size, beam, 0),
        scores=chances.new_zeros(size, beam),
        best=limits.new_full((size, longest + 1), symbols.pad()),
        best_score=chances.new_full((size,), float("-inf")),
        best_length=limits.new_zeros(size),
        ended=limits.new_zeros(size),
    )
    unfinished.reorder(rows.repeat_interleave(beam))
    for step in range(longest):
        if not _step(unfinished, beams, sampling, chances[beams.rows, step], limits, symbols, step < min_len):
            break
    beams.best[rows, beams.best_length] = symbols.eos()
    return beams.best[:, : 1 + int(beams.best_length.max())]


def _step(
    unfinished: Unfinished,
    beams: _Beams,
    sampling: Sampling,
    chances: Tensor,
    limits: Tensor,
    symbols: Any,
    too_short: bool,
) -> bool:
    """Lengthen every beam by one symbol; returns whether a sentence is unfinished."""
    sentences, beam, length = beams.prefixes.shape
    start = beams.prefixes.new_full((sentences * beam, 1), symbols.eos())
    logits = unfinished.next_logits(torch.cat([start, beams.prefixes.flatten(0, 1)], dim=1))
    logits[:, symbols.pad()] = float("-inf")
    if too_short:
        logits[:, symbols.eos()] = float("-inf")
    # The likeliest symbols of each beam, (sentences, beam · top_k), scored by the whole sequence.
    log_probs, ids = logits.log_softmax(dim=-1).topk(sampling.top_k)
    scores = (log_probs.view(sentences, beam, -1) + beams.scores[:, :, None]).flatten(1)
    # The largest of scores with Gumbel noise are a draw without replacement from their softmax.
    noise = -(-chances.clamp(1e-20, 1 - 6e-8).log()).log()
    drawn = (scores / sampling.temperature + noise).topk(2 * beam).indices
    # Of these the likeliest first.
    scores, order = scores.gather(1, drawn).sort(dim=1, descending=True, stable=True)
    drawn = drawn.gather(1, order)
    chosen, parent = ids.view(sentences, -1).gather(1, drawn), drawn // sampling.top_k
    prefixes = beams.prefixes.gather(1, parent[:, :, None].expand(-1, -1, length))
    ends = chosen.eq(symbols.eos())
    # An end counts among the first candidates only, as in a beam search.
    first = torch.arange(2 * beam, device=ends.device) < beam
    beams.finish(ends & first & scores.isfinite(), prefixes, scores, length + 1)
    # The first candidates that do not end go on. At most one of each beam ends, so there are enough.
    onward = ends.to(torch.int8).sort(dim=1, stable=True).indices[:, :beam]
    parent, beams.scores = parent.gather(1, onward), scores.gather(1, onward)
    grown = torch.cat([prefixes, chosen[:, :, None]], dim=2)
    beams.prefixes = grown.gather(1, onward[:, :, None].expand(-1, -1, length + 1))
    # What reaches its limit ends there.
    full = limits[beams.rows].le(length + 1) & beams.ended[beams.rows].lt(beam)
    beams.finish(full[:, None].expand_as(beams.scores), beams.prefixes, beams.scores, length + 2)
    on = ~full & beams.ended[beams.rows].lt(beam)
    places = (torch.arange(sentences, device=on.device)[:, None] * beam + parent)[on].flatten()
    beams.rows, beams.prefixes, beams.scores = beams.rows[on], beams.prefixes[on], beams.scores[on]
    if len(places) == 0:
        return False
    unfinished.reorder(places)
    return True
