"""How a candidate and the gold target are compared. sacreBLEU is imported on first use, so that `--help` is quick."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairseq_kd.errors import UserError

if TYPE_CHECKING:
    from sacrebleu.metrics import BLEU, CHRF

MBR_METRICS = ("mbr-bleu", "mbr-chrf")
"""Compare a candidate with the others of its list (minimum Bayes risk), not with a gold target."""
METRICS = ("sentence-bleu", "chrf", *MBR_METRICS)
TOKENIZERS = ("13a", "intl", "zh", "char", "none")
SMOOTH_METHODS = ("exp", "floor", "add-k", "none")


@dataclass(frozen=True)
class Similarity:
    """How a candidate and the gold target are compared.

    Raises:
        UserError: ``tokenize`` or ``smooth_method`` is given for chrF.
    """

    metric: str = METRICS[0]
    """"sentence-bleu" is ``sacrebleu.sentence_bleu``, "chrf" is ``sacrebleu.sentence_chrf``; the mbr metrics
    take the same of two candidates."""
    post_process: str = "sentencepiece"
    """How a candidate's subwords are joined, fairseq's names."""
    tokenize: str = ""
    """sacreBLEU's tokenizer for BLEU; "" becomes its default, and ``select`` finds one for "auto"."""
    smooth_method: str = ""
    """sacreBLEU's name of a smoothing of Chen & Cherry 2014 for BLEU; "" becomes its default."""

    def __post_init__(self) -> None:
        for name, default in (("tokenize", TOKENIZERS[0]), ("smooth_method", SMOOTH_METHODS[0])):
            if not self.metric.endswith("chrf"):
                object.__setattr__(self, name, getattr(self, name) or default)
            elif getattr(self, name):
                raise UserError(f"--{name.replace('_', '-')} goes with --metric sentence-bleu or mbr-bleu")

    @property
    def needs_gold(self) -> bool:
        """Whether candidates are compared with a gold target."""
        return self.metric not in MBR_METRICS

    @property
    def scorer(self) -> BLEU | CHRF:
        """sacreBLEU's object, one in each process."""
        return _scorer(self)

    @property
    def signature(self) -> str:
        """sacreBLEU's signature of the metric."""
        self.scorer._cache_references([[""]])  # it notes the number of references
        return str(self.scorer.get_signature())


@functools.cache
def _scorer(similarity: Similarity) -> BLEU | CHRF:
    from sacrebleu.metrics import BLEU, CHRF

    if similarity.metric.endswith("chrf"):
        return CHRF()
    return BLEU(tokenize=similarity.tokenize, smooth_method=similarity.smooth_method, effective_order=True)
