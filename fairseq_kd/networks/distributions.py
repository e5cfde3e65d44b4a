"""A model's next-token distributions on a batch, over the real (non-pad) target tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from fairseq.models import BaseFairseqModel, FairseqDecoder
from fairseq.models.nat import FairseqNATModel
from fairseq.models.transformer import TransformerDecoderBase, TransformerModelBase
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fairseq_kd.errors import UserError
from fairseq_kd.losses.chunk import NextTokens

STOCK_SOFTMAX = (BaseFairseqModel.get_normalized_probs, TransformerModelBase.get_normalized_probs)


def real_tokens(target: Tensor, pad: int) -> Tensor:
    """Mask of the target tokens that count, shape (batch, length): all but padding, ``</s>`` included."""
    return target.ne(pad)


def next_tokens(model: BaseFairseqModel, sample: dict[str, Any], real: Tensor) -> NextTokens:
    """The model's distributions on the batch's own target prefixes, one for each real token.

    Transformers give features of shape (real tokens, width) and their output projection. Other models give logits of
    shape (real tokens, vocabulary). Padding is dropped before the projection, so it costs nothing and reaches no loss.

    Args:
        model: any fairseq encoder-decoder, wrapped for several processes or not. Its own forward is called, so that
            the wrapper's hooks run.
        sample: the batch.
        real: mask of shape (batch, length).

    Raises:
        UserError: the student has an adaptive softmax, or predicts all tokens at once.
    """
    kept = real.flatten().nonzero().squeeze(1)

    def select(output: Tensor) -> Tensor:
        return output.flatten(0, 1).index_select(0, kept)

    bare = unwrap(model)
    projection = output_projection(bare)
    if projection is not None and not _misses_the_projection(model, bare):
        # No layer has the number -1: attention weights, which slow a layer down, are computed for none.
        features, _ = model(**sample["net_input"], features_only=True, alignment_layer=-1)
        return NextTokens(select(features), projection.weight, projection.bias)
    if getattr(bare.decoder, "adaptive_softmax", None) is not None and torch.is_grad_enabled():
        raise UserError(
            "fairseq's adaptive softmax gives no gradient over the whole vocabulary; "
            "train the student without --adaptive-softmax-cutoff (a teacher may have one)"
        )
    if isinstance(bare, FairseqNATModel):
        raise UserError(
            f"a {type(bare).__name__} predicts no next token: train it on a distilled data-bin with "
            "--task translation_lev --criterion nat_loss"
        )
    net_output = model(**sample["net_input"])
    if plain_softmax(bare):
        return NextTokens(select(net_output[0]))
    # Log-probabilities are logits too: the softmax gives the probabilities back. (With the sample at hand, an adaptive
    # softmax would fill in the clusters of the targets alone.)
    return NextTokens(select(bare.get_normalized_probs(net_output, log_probs=True)))


def previous_tokens(targets: Tensor, symbols: Any) -> Tensor:
    """The decoder's input that predicts ``targets``: each row moved right by one, behind ``</s>``. Same shape.

    Rows may be padded on either side; ``</s>`` stands at the first real token's place. A ``<pad>`` within a row, from a
    text that has it, is one of the row's symbols, as fairseq's own batches have it.
    """
    real = targets.ne(symbols.pad())
    begun, to_come = real.cumsum(dim=1), real.flip(1).cumsum(dim=1).flip(1)  # real tokens up to here and from here on
    within = begun.gt(0) & to_come.gt(0)  # from the first to the last real token
    moved = torch.cat([targets[:, :1], targets[:, :-1]], dim=1)
    first = within & within.cumsum(dim=1).eq(1)  # one place in each row
    return moved.masked_fill(first, symbols.eos()).masked_fill(~within, symbols.pad())


def unwrap(model: nn.Module) -> Any:
    """The model inside fairseq's wrappers for several processes."""
    while isinstance(getattr(model, "module", None), nn.Module):
        model = model.module  # type: ignore[assignment]
    return model


def output_projection(model: BaseFairseqModel) -> nn.Linear | None:
    """The layer from a Transformer's features to logits; None where a linear map and a softmax do not say it all."""
    decoder = model.decoder
    stock = (
        isinstance(model, TransformerModelBase)
        and isinstance(decoder, TransformerDecoderBase)
        and type(model).forward is TransformerModelBase.forward
        and type(decoder).forward is TransformerDecoderBase.forward
        and type(decoder).output_layer is TransformerDecoderBase.output_layer
        and type(decoder.output_projection) is nn.Linear
    )
    return decoder.output_projection if stock and plain_softmax(model) else None


def plain_softmax(model: BaseFairseqModel) -> bool:
    """Whether the model's forward returns logits first, and a softmax gives its probabilities."""
    decoder = model.decoder
    return (
        getattr(decoder, "adaptive_softmax", None) is None
        and type(model).get_normalized_probs in STOCK_SOFTMAX
        and type(decoder).get_normalized_probs is FairseqDecoder.get_normalized_probs
    )


def _misses_the_projection(model: nn.Module, bare: Any) -> bool:
    """Whether the wrapper would miss a use of the projection outside of the forward that it wraps.

    A DistributedDataParallel that looks for unused parameters takes a parameter for unused if it is no part of the
    graph below the features. Fully sharded parameters exist only within the forward.
    """
    inner: Any = model
    while inner is not bare:
        if type(inner).__name__ == "FullyShardedDataParallel":
            return True
        if isinstance(inner, DistributedDataParallel) and inner.find_unused_parameters:
            return bare.decoder.output_projection.weight is not bare.decoder.embed_tokens.weight
        inner = inner.module
    return False


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Switch dropout off within the block; afterwards every module is in the mode it was in."""
    training = [module for model in models for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
