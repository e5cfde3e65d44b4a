"""Models that answer step by step about the next symbol of several sentences, which finish at different steps."""

from collections.abc import Sequence
from typing import Any

import torch
from fairseq.models import FairseqEncoderDecoderModel
from torch import Tensor
from torch.nn import functional

from fairseq_kd.networks.distributions import output_projection, plain_softmax
from fairseq_kd.networks.teacher_tokens import TeacherTokens


class Unfinished:
    """The sentences still being drawn, and each model's state for them."""

    def __init__(
        self,
        models: Sequence[FairseqEncoderDecoderModel],
        net_input: dict[str, Tensor],
        tokens: Sequence[TeacherTokens | None],
    ):
        self.steppers = [_Stepper(model, net_input, own) for model, own in zip(models, tokens, strict=True)]
        self.rows = torch.arange(len(net_input["src_tokens"]), device=net_input["src_tokens"].device)

    def next_logits(self, prefixes: Tensor) -> Tensor:
        """Logits of the next symbol, float32, shape (rows, vocabulary); the caller's to overwrite."""
        if len(self.steppers) == 1:
            return self.steppers[0].next_logits(prefixes)
        log_probs = [stepper.next_logits(prefixes).log_softmax(dim=-1) for stepper in self.steppers]
        # The log of the mean, up to a constant that the softmax cancels.
        return torch.logsumexp(torch.stack(log_probs), dim=0)

    def keep(self, unfinished: Tensor) -> bool:
        """Keep the rows where the mask is true, and tell whether there are any."""
        if unfinished.all():
            return True
        order = unfinished.nonzero().squeeze(1)
        if len(order) == 0:
            self.rows = self.rows[order]
            return False
        self.reorder(order)
        return True

    def reorder(self, order: Tensor) -> None:
        """Keep these rows, in this order; a row can come several times."""
        self.rows = self.rows[order]
        for stepper in self.steppers:
            stepper.reorder(order)


class _Stepper:
    """One model's next-symbol logits, step by step: its encoder output and its decoder's cached states."""

    def __init__(self, model: FairseqEncoderDecoderModel, net_input: dict[str, Tensor], tokens: TeacherTokens | None):
        self.model, self.tokens = model, tokens
        self.projection, self.plain = output_projection(model), plain_softmax(model)
        inputs = {name: value for name, value in net_input.items() if name != "prev_output_tokens"}
        inputs = inputs if tokens is None else tokens.sources(inputs)
        self.encoder_out = model.encoder(**inputs)
        self.state: dict[str, Any] = {}

    def next_logits(self, prefixes: Tensor) -> Tensor:
        """As :meth:`Unfinished.next_logits`: over the student's symbols."""
        if self.tokens is None:
            return self._logits(prefixes)
        # The task's own symbols stand in the place of the first </s>. A decoder with a state reads the last column
        # only, so in the first step it reads them one after the other.
        start = prefixes.new_tensor(self.tokens.start).expand(len(prefixes), -1)
        for length in range(1, len(self.tokens.start)) if prefixes.size(1) == 1 else ():
            self._logits(start[:, :length])
        return self._logits(torch.cat([start, prefixes[:, 1:]], dim=1))[:, : self.tokens.kept]

    def _logits(self, prefixes: Tensor) -> Tensor:
        """Logits of the symbol behind ``prefixes``, which have one symbol more in each call."""
        cached = {"encoder_out": self.encoder_out, "incremental_state": self.state}
        if self.projection is None:
            output = self.model.decoder(prefixes, **cached)
            logits = output[0] if self.plain else self.model.get_normalized_probs(output, log_probs=True)
            return logits[:, -1].float()
        # Attention weights, which cost time, are returned of layer -1: of no layer.
        features, _ = self.model.decoder(prefixes, **cached, features_only=True, alignment_layer=-1)
        # (rows, width) @ (width, vocabulary): with a batch dimension torch would copy the projection for each row.
        return functional.linear(features[:, -1].contiguous(), self.projection.weight, self.projection.bias).float()

    def reorder(self, order: Tensor) -> None:
        """Keep these rows of the state, in this order."""
        self.encoder_out = self.model.encoder.reorder_encoder_out(self.encoder_out, order)
        self.model.decoder.reorder_incremental_state_scripting(self.state, order)
