"""Which of sacreBLEU's tokenizers cuts a test set for BLEU. sacreBLEU is not imported, so that `--help` is quick."""

import logging
from collections.abc import Sequence

from fairseq_kd.data.text.unspaced import AUTO, language_without_spaces, warn_of_spaces
from fairseq_kd.errors import UserError

logger = logging.getLogger(__name__)

TOKENIZERS = (
    "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none", "spm", "flores101", "flores200", "spBLEU-1K",
)  # fmt: skip
"""sacreBLEU's names; the first is its default."""
FITTING = {"Chinese": "zh", "Japanese": "ja-mecab"}
"""What sacreBLEU offers for a language; :data:`fairseq_kd.data.text.unspaced.UNSPACED` has those
for which it offers only "char"."""


def choose_tokenizer(asked: str, references: Sequence[str], target: str | None) -> str:
    """The tokenizer for BLEU against ``references``.

    "auto" is sacreBLEU's own choice for Chinese ("zh") and Japanese ("ja-mecab"), "char" for Thai, Lao, Tibetan,
    Burmese and Khmer, and "13a" for all other text. Without MeCab's packages Japanese text gets "char", and a warning
    says so. A warning also says where a tokenizer that was asked for cuts at spaces, and the text has none.

    Args:
        asked: "auto" or one of :data:`TOKENIZERS`.
        references: detokenised lines.
        target: the target language's code, if there is one.

    Raises:
        UserError: there is no such tokenizer.
    """
    if asked not in (AUTO, *TOKENIZERS):
        raise UserError(f"--tokenize {asked}: no tokenizer of sacreBLEU; choose from {', '.join((AUTO, *TOKENIZERS))}")
    language = language_without_spaces(references, target)
    if language is None:
        return TOKENIZERS[0] if asked == AUTO else asked
    fitting = FITTING.get(language, "char")
    if asked == AUTO and fitting == "ja-mecab" and not _has_mecab():
        logger.warning(
            "BLEU of Japanese text counts characters (--tokenize char), because MeCab is not installed; "
            "for words run pip install 'sacrebleu[ja]'"
        )
        return "char"
    warn_of_spaces(asked, language, fitting)
    return fitting if asked == AUTO else asked


def _has_mecab() -> bool:
    try:
        import ipadic  # type: ignore[import-not-found]  # noqa: F401
        import MeCab  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        return False
    return True
