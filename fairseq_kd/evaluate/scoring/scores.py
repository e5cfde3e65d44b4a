"""sacreBLEU's scores of detokenised text, and the size and seed of its bootstrap."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sacrebleu.metrics import BLEU, CHRF, TER

from fairseq_kd.data.text.unspaced import CUT_AT_SPACES, language_without_spaces
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scoring.tokenizers import (
    FITTING,
    TOKENIZERS,
    choose_tokenizer,
)

Streams = Sequence[Sequence[str | None]]
"""References: a line for each sentence, and perhaps further such lists, with None where a sentence has no more."""
BOOTSTRAP_SAMPLES = 1000
PACKAGES = {"ja-mecab": "sacrebleu[ja]", "ko-mecab": "sacrebleu[ko]"}
"""What pip installs for a tokenizer."""


@dataclass(frozen=True)
class Scoring:
    """How text becomes the words that scores count.

    Attributes:
        tokenize: sacreBLEU's tokenizer for BLEU.
        asian_ter: whether TER takes each Han character as a word (sacreBLEU's options "normalized" and
            "asian_support"); chrF counts characters in any case.
        lowercase: whether BLEU and chrF take upper and lower case as the same, as sacreBLEU's TER always does.
    """

    tokenize: str = TOKENIZERS[0]
    asian_ter: bool = False
    lowercase: bool = False

    def bleu(self, *, sentences: bool = False, order: int = 4) -> BLEU:
        """sacreBLEU's metric, of n-grams up to ``order``; for ``sentences`` as ``sacrebleu.sentence_bleu`` has it.

        Raises:
            UserError: as :func:`make_bleu`.
        """
        return make_bleu(self.tokenize, sentences=sentences, lowercase=self.lowercase, max_ngram_order=order)

    def chrf(self) -> CHRF:
        """sacreBLEU's metric."""
        return CHRF(lowercase=self.lowercase)

    def ter(self) -> TER:
        """sacreBLEU's metric."""
        return TER(normalized=self.asian_ter, asian_support=self.asian_ter)


def choose_scoring(asked: str, references: Sequence[str], target: str | None, *, lowercase: bool = False) -> Scoring:
    """How to score against ``references``.

    TER counts characters of Chinese and Japanese text, unless a tokenizer that cuts at spaces was asked for.

    Args:
        asked: "auto" or sacreBLEU's name of a tokenizer, as :func:`choose_tokenizer` takes it.
        references: detokenised lines.
        target: the target language's code, if there is one.
        lowercase: whether scores take upper and lower case as the same.

    Raises:
        UserError: there is no such tokenizer, or it lacks a package or its model.
    """
    tokenize = choose_tokenizer(asked, references, target)
    make_bleu(tokenize)
    language = language_without_spaces(references, target)
    return Scoring(tokenize, language in FITTING and tokenize not in CUT_AT_SPACES, lowercase)


def make_bleu(tokenize: str, *, sentences: bool = False, **options: Any) -> BLEU:
    """sacreBLEU's metric with ``options`` of it; for single sentences as ``sacrebleu.sentence_bleu`` has it.

    Raises:
        UserError: the installed sacreBLEU has no such tokenizer, or the tokenizer lacks a package or its model.
    """
    if tokenize not in BLEU.TOKENIZERS:
        raise UserError(f"--tokenize {tokenize}: this version of sacreBLEU does not have it; update sacrebleu")
    try:
        return BLEU(tokenize=tokenize, effective_order=sentences, **options)
    except OSError as error:
        raise UserError(
            f"--tokenize {tokenize}: sacreBLEU cannot download its model ({error}); run it once with a network, or "
            "give --tokenize char"
        ) from None
    except (ImportError, RuntimeError, AssertionError) as error:
        package = PACKAGES.get(tokenize)
        if package is None or isinstance(error, AssertionError):
            raise UserError(f"--tokenize {tokenize}: sacreBLEU cannot use it ({error})") from None
        raise UserError(
            f"--tokenize {tokenize}: needs packages that are not installed; run pip install '{package}', or give "
            "--tokenize char"
        ) from None


def score_text(
    hypotheses: Sequence[str],
    references: Sequence[str],
    scoring: Scoring = Scoring(),
    more: Streams = (),
) -> dict[str, dict[str, Any]]:
    """Corpus BLEU, chrF and TER of detokenised lines, each ``{"score": in percent, "signature": sacreBLEU's}``.

    Args:
        hypotheses: the lines.
        references: a line for each.
        scoring: how text becomes the words that scores count.
        more: further references.

    Raises:
        ValueError: the numbers of lines differ.
    """
    streams: Any = [list(references), *map(list, more)]
    wanted = [len(stream) for stream in streams]
    if {*wanted} != {len(hypotheses)}:  # sacreBLEU would pass over the lines without a partner
        raise ValueError(f"{len(hypotheses)} translations, references of {wanted} lines: give one line for each")
    scores = {}
    for name, metric in (("bleu", scoring.bleu()), ("chrf", scoring.chrf()), ("ter", scoring.ter())):
        score = metric.corpus_score(list(hypotheses), streams).score
        scores[name] = {"score": score, "signature": str(metric.get_signature())}
    return scores


def references_of_each(references: Sequence[str], more: Streams = ()) -> list[list[str]]:
    """All references of each sentence, of the streams that :func:`score_text` takes."""
    rows = zip(references, *more, strict=True)
    return [[line for line in row if line is not None] for row in rows]


def bootstrap_seed() -> int | None:
    """The seed of sacreBLEU's resampling: ``SACREBLEU_SEED`` or its default; None for a new seed each time.

    Raises:
        UserError: the variable is no seed.
    """
    seed = os.environ.get("SACREBLEU_SEED", "12345")
    if seed.lower() == "none":
        return None
    if not (seed.isascii() and seed.isdigit()):
        raise UserError(f"SACREBLEU_SEED={seed}: is no seed; give a whole number from 0 on, or none")
    return int(seed)
