"""Options of searching and sampling. This module imports neither torch nor fairseq, so that `--help` is quick."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

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
VOCABULARY_MAP = "vmap.txt"
"""CTranslate2's name of a lexical shortlist in a model's folder."""


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
    lenpen: float = 1.0
    """A hypothesis's score is its log-probability divided by its number of tokens (``</s>`` counted) to this power."""
    no_repeat_ngram_size: int = 0
    """No hypothesis has the same n tokens twice; 0: repetitions are allowed."""
    patience: float = 1.0
    """The search ends with patience × beam hypotheses (Kasai et al. 2022, arXiv 2204.05424); a beam of 1 with one."""
    prefix: str = ""
    """Subword tokens, separated by spaces, that every hypothesis begins with."""
    no_unk: bool = False
    """No hypothesis holds ``<unk>``."""

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
        self._check_search()

    def _check_search(self) -> None:
        if not (self.lenpen >= 0 and math.isfinite(self.lenpen)):
            raise UserError(f"--lenpen {self.lenpen}: give 0 or more; 1 divides by the length")
        if self.no_repeat_ngram_size < 0:
            raise UserError(f"--no-repeat-ngram-size {self.no_repeat_ngram_size}: give 1 or more, or 0 for no limit")
        if not (self.patience > 0 and math.isfinite(self.patience)):
            raise UserError(f"--patience {self.patience}: give a number above 0")
        if self.nbest > self.ended:
            raise UserError(
                f"--patience {self.patience}: ends with {self.ended} hypotheses, --nbest asks for {self.nbest}"
            )
        if len(self.prefix.split()) > self.max_len_b:
            tokens = len(self.prefix.split())
            raise UserError(
                f"--prefix has {tokens} tokens, --max-len-b {self.max_len_b} allows fewer; raise --max-len-b"
            )

    @property
    def ended(self) -> int:
        """The number of hypotheses with which the search ends: patience × beam, rounded, at least 1."""
        return 1 if self.beam == 1 else max(1, math.floor(self.patience * self.beam + 0.5))

    def asked(self) -> dict[str, Any]:
        """The search options that are not at their defaults, by name. Results before 0.2 know none of them."""
        later = ("lenpen", "no_repeat_ngram_size", "patience", "prefix", "no_unk")
        defaults = {field.name: field.default for field in fields(self)}
        return {name: getattr(self, name) for name in later if getattr(self, name) != defaults[name]}

    def record(self) -> dict[str, Any]:
        """All options as results record them: what :meth:`asked` leaves out is absent, so that old results agree."""
        always = ("beam", "nbest", "max_len_a", "max_len_b", "max_tokens")
        return {name: value for name, value in asdict(self).items() if name in always} | self.asked()

    def lacking(self, engine: str) -> str | None:
        """The option that ``engine`` cannot do as the other engine does, and why, in words; None: it can do all."""
        if engine == "fairseq" and self.patience != 1:
            return f"--patience {self.patience}: fairseq's search has no patience"
        size = self.no_repeat_ngram_size
        forbidding = f"--no-repeat-ngram-size {size}" if size else "--no-unk" if self.no_unk else None
        if engine == "ctranslate2" and forbidding:
            return (
                f"{forbidding}: ctranslate2 spreads the probability of what is forbidden over the other tokens, so "
                "that it finds other translations than fairseq"
            )
        if engine == "ctranslate2" and self.prefix.split():
            return (
                f"--prefix {self.prefix!r}: after a prefix, ctranslate2 keeps and ends other hypotheses, so "
                "that it finds other translations than fairseq"
            )
        return None

    def require(self, engine: str) -> None:
        """Check that ``engine`` can do this search.

        Raises:
            UserError: it lacks an option.
        """
        reason = self.lacking(engine)
        if reason:
            other = "ctranslate2" if engine == "fairseq" else "fairseq"
            raise UserError(f"{reason}; give --engine {other}")

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
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise UserError(f"temperature {self.temperature}: give a finite temperature above 0")

    def longest(self, source_length: int, target_positions: int) -> int:
        """The most tokens that a sequence can have before its ``</s>``; at least 1.

        Args:
            source_length: of the row's own source, ``</s>`` counted.
            target_positions: of the decoder.
        """
        return max(1, min(int(self.max_len_a * source_length + self.max_len_b), target_positions - 1))
