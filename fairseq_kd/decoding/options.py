"""Options of searching and sampling. This module imports neither torch nor fairseq, so that `--help` is quick."""

import math
from dataclasses import dataclass

from fairseq_kd.errors import UserError

ENGINES = ("auto", "ctranslate2", "fairseq")
PRECISIONS = (
    "float32",
    "bfloat16",
    "float16",
    "int8",
    "int8_float32",
    "int8_bfloat16",
    "int8_float16",
    "int16",
)


@dataclass(frozen=True)
class DecodingOptions:
    """How to search; the names and defaults are fairseq-generate's.

    A hypothesis has at most ``max_len_a`` × (padded source length, ``</s>`` counted) + ``max_len_b`` tokens, its own
    ``</s>`` not counted. The padding counts because it does in fairseq's search.

    Raises:
        UserError: a value is out of range.
    """

    beam: int = 5
    nbest: int = 1
    max_len_a: float = 0.0
    max_len_b: int = 200
    max_tokens: int = 4000
    """Source tokens in a batch, padding counted; a longer sentence makes a batch of its own."""

    def __post_init__(self) -> None:
        for name in ("beam", "nbest", "max_len_b", "max_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: give 1 or more")
        if not (self.max_len_a >= 0 and math.isfinite(self.max_len_a)):
            raise UserError(f"--max-len-a {self.max_len_a}: give 0 or more")
        if self.nbest > self.beam:
            raise UserError(
                f"--nbest {self.nbest}: a beam of {self.beam} cannot give as many; give --beam {self.nbest}"
            )

    def longest(self, source_length: int, target_positions: int) -> int:
        """The most tokens that a hypothesis can have, its ``</s>`` not counted: fairseq's rule.

        Args:
            source_length: of the batch's longest source, ``</s>`` counted.
            target_positions: of the decoder.
        """
        return min(int(self.max_len_a * source_length + self.max_len_b), target_positions - 1)


@dataclass(frozen=True)
class Sampling:
    """How to sample: from the model's distribution at a temperature, cut to its likeliest symbols.

    A sequence has at most ``max_len_a`` × (source length, ``</s>`` counted) + ``max_len_b`` tokens before its ``</s>``.
    The source length is the row's own: padding does not count.

    Raises:
        UserError: a value is out of range.
    """

    top_k: int = 0
    """Sample from the k likeliest symbols; 0: from all."""
    top_p: float = 1.0
    """Sample from the fewest likeliest symbols whose probabilities sum to this or more; applied after top_k."""
    temperature: float = 1.0
    max_len_a: float = 1.2
    max_len_b: int = 10

    def __post_init__(self) -> None:
        if self.top_k < 0:
            raise UserError(f"top-k {self.top_k}: give a number of symbols, or 0 for all")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top-p {self.top_p}: give a share above 0 and of at most 1")
        if not self.temperature > 0:
            raise UserError(f"temperature {self.temperature}: give a temperature above 0")

    def longest(self, source_length: int, target_positions: int) -> int:
        """The most tokens that a sequence can have before its ``</s>``; at least 1.

        Args:
            source_length: of the row's own source, ``</s>`` counted.
            target_positions: of the decoder.
        """
        return max(1, min(int(self.max_len_a * source_length + self.max_len_b), target_positions - 1))
