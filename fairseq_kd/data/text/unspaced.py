"""Text that puts no spaces between words: which language it is, and how BLEU finds words in it."""

import logging
import re
from collections.abc import Iterable, Sequence
from itertools import islice

logger = logging.getLogger(__name__)

AUTO = "auto"
"""The choice of a tokenizer for BLEU that leaves it to the text."""
CUT_AT_SPACES = ("13a", "intl", "none")
"""sacreBLEU's tokenizers that make one word of letters without a space between them."""
CODES = {
    **dict.fromkeys(("zh", "zho", "chi", "cmn", "yue", "wuu", "lzh"), "Chinese"),
    **dict.fromkeys(("ja", "jpn", "jp"), "Japanese"),
}
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

LINES_LOOKED_AT = 200
"""Lines of a text that show whether it was cut into words."""
LONGEST_WORDS = 6
"""Characters of a token, on average: text without spaces has more, the same text cut into words has fewer."""


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


def language_of_uncut(lines: Iterable[str], code: str | None = None) -> str | None:
    """As :func:`language_without_spaces` of the first lines, but None also where the text was cut into words."""
    first = list(islice(lines, LINES_LOOKED_AT))
    language = language_without_spaces(first, code)
    tokens = [token for line in first for token in line.split()]
    return language if sum(map(len, tokens)) > LONGEST_WORDS * len(tokens) else None


def fitting_tokenizer(language: str | None) -> str:
    """sacreBLEU's tokenizer for a language of :func:`language_without_spaces`, of those that need no other package.

    It is "zh" for Chinese and "char" for the others; for all other text it is sacreBLEU's default, "13a".
    """
    if language is None:
        return "13a"
    return "zh" if language == "Chinese" else "char"


def warn_of_spaces(asked: str, language: str | None, fitting: str) -> None:
    """Log a warning where the tokenizer ``asked`` cuts text of ``language`` at spaces, which it does not have."""
    if language is not None and asked in CUT_AT_SPACES:
        logger.warning(
            "--tokenize %s cuts words at spaces, but %s text has none, so BLEU says little; give --tokenize %s",
            asked, language, fitting,
        )  # fmt: skip
