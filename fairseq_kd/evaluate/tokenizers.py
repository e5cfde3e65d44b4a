"""Which of sacreBLEU's tokenizers cuts a test set for BLEU. sacreBLEU is not imported, so that `--help` is quick."""

import logging
import re
from collections.abc import Sequence

from fairseq_kd.errors import UserError

logger = logging.getLogger(__name__)

TOKENIZERS = (
    "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none", "spm", "flores101", "flores200", "spBLEU-1K",
)  # fmt: skip
"""sacreBLEU's names; the first is its default."""
AUTO = "auto"
"""Chooses by the references and the target language, see :func:`choose_tokenizer`."""
CUT_AT_SPACES = ("13a", "intl", "none")
"""The tokenizers that make one word of letters without a space between them."""
CODES = {
    **dict.fromkeys(("zh", "zho", "chi", "cmn", "yue", "wuu", "lzh"), "Chinese"),
    **dict.fromkeys(("ja", "jpn", "jp"), "Japanese"),
}
FITTING = {"Chinese": "zh", "Japanese": "ja-mecab"}
"""What sacreBLEU offers for a language; :data:`UNSPACED` has languages for which it offers only "char"."""
UNSPACED = {
    "Thai": re.compile(r"[\u0e01-\u0e4e]"),
    "Lao": re.compile(r"[\u0e81-\u0ece\u0edc-\u0edf]"),
    "Tibetan": re.compile(r"[\u0f40-\u0fbc]"),
    "Burmese": re.compile(r"[\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f]"),
    "Khmer": re.compile(r"[\u1780-\u17d3]"),
}
HAN = re.compile(
    "[\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]"
)
KANA = re.compile("[\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f]")
LETTER = re.compile(r"[^\W\d_]")
SHARE = 0.1
"""Of all letters, so many make a text one of a script; of Han and Kana, so many Kana make it Japanese."""


def language_without_spaces(references: Sequence[str], target: str | None = None) -> str | None:
    """The language of a text that puts no spaces between words; None for all other text.

    The letters decide, so that a code such as "tgt" or "cn" does not matter. The code decides between Chinese and
    Japanese where there are no Kana, and for text with few Han characters among Latin letters.

    Args:
        references: lines of the text.
        target: the language's code, such as "zh", "zh_CN" or "jpn_Jpan"; None where it is not known.
    """
    text = "".join(references)
    coded = CODES.get(re.split(r"[-_.@]", target.lower())[0]) if target else None
    han, kana = len(HAN.findall(text)), len(KANA.findall(text))
    letters = max(1, len(LETTER.findall(text)))
    if han + kana >= SHARE * letters:
        if kana >= SHARE * (han + kana):
            return "Japanese"
        return coded or "Chinese"
    if coded and han + kana:
        return coded
    found = {name: len(script.findall(text)) / letters for name, script in UNSPACED.items()}
    likeliest = max(found, key=found.__getitem__)
    return likeliest if found[likeliest] >= SHARE else None


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
    if asked in CUT_AT_SPACES:
        logger.warning(
            "--tokenize %s cuts words at spaces, but %s text has none, so BLEU says little; give --tokenize %s",
            asked, language, fitting,
        )  # fmt: skip
    return fitting if asked == AUTO else asked


def _has_mecab() -> bool:
    try:
        import ipadic  # type: ignore[import-not-found]  # noqa: F401
        import MeCab  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        return False
    return True
