"""The BLEU of ``--eval-bleu``: of words where text has no spaces, and 0 where nothing is translated."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.logging import metrics
from fairseq.tasks.translation import EVAL_BLEU_ORDER, TranslationTask
from sacrebleu.metrics import BLEU

from fairseq_kd.data.databins.databin import read_side
from fairseq_kd.data.databins.files import first_folder
from fairseq_kd.data.text.unspaced import fitting_tokenizer, language_without_spaces

logger = logging.getLogger(__name__)

LOOKED_AT = 1000
"""Rows of a validation set whose targets tell its language."""
UNKNOWN = {"hypothesis": "UNKNOWNTOKENINHYP", "reference": "UNKNOWNTOKENINREF"}
"""fairseq's words for the unknown symbol, which never match each other."""
_Task: Any = TranslationTask if TYPE_CHECKING else object


class ValidationBLEU(_Task):
    """Mixed into fairseq's task ``translation``, before the task's class.

    fairseq cuts at spaces, so that a Chinese sentence is one word and BLEU is 0. Where all translations of a set are
    empty, fairseq logs no BLEU, and ``--best-checkpoint-metric bleu`` ends in a KeyError.
    """

    cfg: Any
    _bleu: BLEU | None = None
    """sacreBLEU's metric for text without spaces."""
    _spaced: bool | None = None
    """Whether fairseq's own BLEU finds the words; None: not looked yet."""

    def _inference_with_bleu(self, generator: Any, sample: dict[str, Any], model: Any) -> Any:
        """As the task of fairseq, but text without spaces is cut by the tokenizer that fits its language."""
        if self._spaced is None:
            self._look_at_targets()
        if self._bleu is None:
            return super()._inference_with_bleu(generator, sample, model)
        found = self.inference_step(generator, [model], sample, prefix_tokens=None)
        hypotheses = [self._text(best["tokens"], "hypothesis") for best, *_ in found]
        pad = self.tgt_dict.pad()
        references = [self._text(utils.strip_pad(row, pad), "reference") for row in sample["target"]]
        if self.cfg.eval_bleu_print_samples:
            logger.info("example hypothesis: %s", hypotheses[0])
            logger.info("example reference: %s", references[0])
        return self._bleu.corpus_score(hypotheses, [references])

    def _text(self, symbols: torch.Tensor, of: str) -> str:
        """Detokenised text, as fairseq makes it for BLEU."""
        text: str = self.tgt_dict.string(symbols.int().cpu(), self.cfg.eval_bleu_remove_bpe, unk_string=UNKNOWN[of])
        return self.tokenizer.decode(text) if self.tokenizer else text

    def _look_at_targets(self) -> None:
        """Find the language of the first validation set; a log line tells a choice that is not fairseq's."""
        pair = (self.cfg.source_lang, self.cfg.target_lang)
        # From the files: fairseq reads some formats in the order of the batches alone.
        rows = read_side(first_folder(self.cfg.data), self.cfg.valid_subset.split(",")[0], pair, pair[1])
        some = [] if rows is None else [self._text(rows[row], "reference") for row in range(min(LOOKED_AT, len(rows)))]
        language = language_without_spaces(some, pair[1])
        self._spaced = language is None or self.cfg.eval_tokenized_bleu
        if not self._spaced:
            tokenizer = fitting_tokenizer(language)
            self._bleu = BLEU(tokenize=tokenizer)
            logger.info(
                "validation BLEU takes sacreBLEU's tokenizer %s: %s text has no spaces between words",
                tokenizer, language,
            )  # fmt: skip

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: FairseqCriterion) -> None:
        """As the task of fairseq, but BLEU is logged where all translations are empty, too."""
        super().reduce_metrics(logging_outputs, criterion)
        scored = [log for log in logging_outputs if "_bleu_sys_len" in log]
        if not scored or any(log["_bleu_totals_0"] for log in scored):
            return
        for name in ("_bleu_counts", "_bleu_totals"):
            metrics.log_scalar(name, np.zeros(EVAL_BLEU_ORDER))
        for name in ("_bleu_sys_len", "_bleu_ref_len"):
            metrics.log_scalar(name, float(sum(log[name] for log in scored)))
        metrics.log_derived("bleu", _bleu_of)


def _bleu_of(meters: dict[str, Any]) -> float:
    """BLEU of all batches, rounded as fairseq does."""
    counts, totals = (meters[name].sum.tolist() for name in ("_bleu_counts", "_bleu_totals"))
    written, wanted = (int(meters[name].sum) for name in ("_bleu_sys_len", "_bleu_ref_len"))
    return round(BLEU.compute_bleu(counts, totals, written, wanted, smooth_method="exp").score, 2)
