"""Sequences drawn from a model: batched ancestral sampling, one token for every unfinished sentence at a time."""

from typing import Any

import numpy as np
import torch
from fairseq.models import FairseqEncoderDecoderModel
from torch import Tensor
from torch.nn import functional

from fairseq_kd.decoding.options import Sampling
from fairseq_kd.errors import UserError
from fairseq_kd.networks.distributions import evaluating, output_projection, plain_softmax

BLOCK = 128
"""Symbols whose probabilities are summed before one of them is chosen."""


@torch.no_grad()
def draw_rollouts(
    model: FairseqEncoderDecoderModel, sample: dict[str, Any], sampling: Sampling, seed: tuple[int, int], symbols: Any
) -> Tensor:
    """One sequence for each source of the batch, from the model itself (not a wrapper for several processes).

    A sentence's random numbers come from ``seed`` and its own number alone: its sequence is the same wherever in
    whichever batch it stands, and the global random state is left alone. Of the model only the train mode is touched,
    and put back.

    Args:
        model: any fairseq encoder-decoder whose decoder is incremental.
        sample: the batch; of ``net_input`` only the source is read.
        sampling: how to draw.
        seed: two numbers, of the run and of the update.
        symbols: the target dictionary.

    Returns:
        Symbols, shape (batch, longest), each row ended by ``</s>`` and then padded.

    Raises:
        UserError: top_k is larger than the vocabulary.
    """
    if sampling.top_k > len(symbols):
        raise UserError(f"top-k {sampling.top_k}: the vocabulary has {len(symbols)} symbols")
    source = sample["net_input"]["src_tokens"]
    longest = sampling.longest(source.size(1), model.max_decoder_positions())
    chances = uniform_numbers(seed, sample["id"].tolist(), longest).to(source.device)
    drawn = source.new_full((len(source), longest + 2), symbols.pad())
    drawn[:, 0] = symbols.eos()  # fairseq's decoders start from it
    with evaluating(model):
        unfinished = _Unfinished(model, sample["net_input"])
        for step in range(longest):
            rows = unfinished.rows
            logits = unfinished.next_logits(drawn[rows, : step + 1])
            logits[:, symbols.pad()] = float("-inf")
            chosen = draw_symbols(logits, sampling, chances[rows, step])
            drawn[rows, step + 1] = chosen
            if not unfinished.keep(chosen != symbols.eos()):
                break
        drawn[unfinished.rows, longest + 1] = symbols.eos()
    lengths = drawn[:, 1:].ne(symbols.pad()).sum(dim=1)
    return drawn[:, 1 : 1 + int(lengths.max())]


class _Unfinished:
    """The sentences still being drawn, with their encoder output and the decoder's cached states."""

    def __init__(self, model: FairseqEncoderDecoderModel, net_input: dict[str, Tensor]):
        self.model = model
        self.projection, self.plain = output_projection(model), plain_softmax(model)
        inputs = {name: value for name, value in net_input.items() if name != "prev_output_tokens"}
        self.encoder_out = model.encoder(**inputs)
        self.state: dict[str, Any] = {}
        self.rows = torch.arange(len(net_input["src_tokens"]), device=net_input["src_tokens"].device)

    def next_logits(self, prefixes: Tensor) -> Tensor:
        """Logits of the next symbol, float32, shape (rows, vocabulary)."""
        answer = {"encoder_out": self.encoder_out, "incremental_state": self.state}
        if self.projection is None:
            output = self.model.decoder(prefixes, **answer)
            logits = output[0] if self.plain else self.model.get_normalized_probs(output, log_probs=True)
            return logits[:, -1].float()
        # No layer has the number -1: attention weights are returned of none.
        features, _ = self.model.decoder(prefixes, **answer, features_only=True, alignment_layer=-1)
        # Of a matrix, not of a batch of matrices with one row each, for which torch repeats the projection.
        return functional.linear(features[:, -1].contiguous(), self.projection.weight, self.projection.bias).float()

    def keep(self, unfinished: Tensor) -> bool:
        """Go on with the rows that the mask holds; whether there are any."""
        if unfinished.all():
            return True
        order = unfinished.nonzero().squeeze(1)
        self.rows = self.rows[order]
        if len(order) == 0:
            return False
        self.encoder_out = self.model.encoder.reorder_encoder_out(self.encoder_out, order)
        self.model.decoder.reorder_incremental_state_scripting(self.state, order)
        return True


def uniform_numbers(seed: tuple[int, int], sentences: list[int], count: int) -> Tensor:
    """``count`` numbers in [0, 1) for each sentence, shape (sentences, count); a sentence's depend on no other's."""
    streams = (np.random.Generator(np.random.Philox(key=[seed[0] << 32 | seed[1], one])) for one in sentences)
    return torch.from_numpy(np.stack([stream.random(count, dtype=np.float32) for stream in streams]))


def draw_symbols(logits: Tensor, sampling: Sampling, chances: Tensor) -> Tensor:
    """A symbol for each row, by the inverse of the cumulated distribution.

    Args:
        logits: float32, shape (rows, vocabulary); the temperature is applied in place.
        sampling: what is left of the distribution.
        chances: numbers in [0, 1), shape (rows,).
    """
    if sampling.temperature != 1.0:
        logits /= sampling.temperature
    if sampling.top_k:
        logits, symbols = logits.topk(sampling.top_k)
    probabilities = logits.softmax(dim=-1)
    if sampling.top_p < 1:
        probabilities = _nucleus(probabilities, sampling.top_p)
    chosen = _choose(probabilities, chances[:, None])
    return (symbols.gather(1, chosen) if sampling.top_k else chosen).squeeze(1)


def _nucleus(probabilities: Tensor, share: float, candidates: int = 256) -> Tensor:
    """The probabilities with a 0 for every symbol behind the fewest that have the share.

    Sorting a whole vocabulary takes longer than all the rest of a step: only rows that the likeliest candidates do not
    settle are sorted.
    """
    best, order = probabilities.topk(min(candidates, probabilities.size(1)))
    enough = best.cumsum(dim=-1) - best >= share  # before this symbol
    kept = torch.zeros_like(probabilities).scatter_(1, order, best.masked_fill(enough, 0.0))
    unsettled = ~enough[:, -1]
    if best.size(1) < probabilities.size(1) and unsettled.any():
        kept[unsettled] = _nucleus(probabilities[unsettled], share, probabilities.size(1))
    return kept


def _choose(probabilities: Tensor, chances: Tensor) -> Tensor:
    """The symbol at which the cumulated probability first exceeds the chance; both, and it, have shape (rows, …).

    In two steps, first among the sums of blocks and then within one block: summing is several times as fast as
    cumulating.
    """
    symbols = probabilities.size(1)
    whole = symbols - symbols % BLOCK
    sums = probabilities[:, :whole].unflatten(1, (whole // BLOCK, BLOCK)).sum(dim=-1)
    if whole < symbols:
        sums = torch.cat([sums, probabilities[:, whole:].sum(dim=-1, keepdim=True)], dim=1)
    block, rest = _first_beyond(sums, chances * sums.sum(dim=-1, keepdim=True))
    places = block * BLOCK + torch.arange(BLOCK, device=block.device)
    within = probabilities.gather(1, places.clamp(max=symbols - 1)).masked_fill_(places >= symbols, 0.0)
    return places.gather(1, _first_beyond(within, rest)[0])


def _first_beyond(weights: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Where the cumulated weights first exceed what is wanted, and what is wanted of the weight there."""
    cumulated = weights.cumsum(dim=-1)
    place = torch.searchsorted(cumulated, wanted, right=True)
    # Rounding can put what is wanted beyond the last weight: then the largest stands in.
    place = torch.where(place < weights.size(1), place, weights.argmax(dim=-1, keepdim=True))
    return place, (wanted - (cumulated - weights).gather(1, place)).clamp_(min=0)
