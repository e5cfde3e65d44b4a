"""From a model's output to next-token distributions over the real (non-pad) target tokens."""

from typing import Any

import torch
from fairseq.models import BaseFairseqModel
from torch import Tensor


def real_tokens(target: Tensor, pad: int) -> Tensor:
    """Mask, shape (batch, length), of the target tokens that count: all but padding, </s> included."""
    return target.ne(pad)


def log_probs(model: BaseFairseqModel, net_output: tuple[Any, ...], sample: dict[str, Any], real: Tensor) -> Tensor:
    """Log-probabilities of the next token, float32, shape (real tokens, vocabulary).

    Padding is dropped before the softmax, so that it costs nothing and can reach no loss. An adaptive softmax needs
    the whole batch and its targets; it is cut afterwards.

    Args:
        model: any fairseq encoder-decoder, wrapped for several processes or not.
        net_output: what ``model(**sample["net_input"])`` returned.
        sample: the batch.
        real: mask of shape (batch, length).
    """
    if getattr(model.decoder, "adaptive_softmax", None) is not None:
        return model.get_normalized_probs(net_output, log_probs=True, sample=sample)[real].float()
    kept = (net_output[0][real], *net_output[1:])
    return model.get_normalized_probs(kept, log_probs=True, sample=sample).to(torch.float32)
