"""Text that Moses's tokenizer.perl has cut, made plain text again, as its detokenizer.perl does it."""

import logging
import re
from collections.abc import Iterable, Sequence

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.options import DETOKENIZERS

logger = logging.getLogger(__name__)

AUTO, MOSES, NONE = DETOKENIZERS
ESCAPES = {
    "&#124;": "|",
    "&lt;": "<",
    "&gt;": ">",
    "&apos;": "'",
    "&quot;": '"',
    "&#91;": "[",
    "&#93;": "]",
    "&amp;": "&",
}
"""tokenizer.perl's, in the order in which they are undone: ``&amp;`` last."""
LEFT = re.compile(r"[\$£€¥\(\[\{¿¡]+")
"""Tokens that the next word follows without a space."""
RIGHT = re.compile(r"[,.?!:;\\%}\])]+")
"""Tokens that follow the last word without a space."""
FRENCH_SPACED = re.compile(r"[?!:;\\%]+")
QUOTE = re.compile(r"['\"„“”`]+")
CONTRACTION = re.compile(r"'[^\W\d_]")
ELISION = re.compile(r".*[^\W\d_]'")
CUT_END = re.compile(r"\S ([.?!])(?: &quot;| \")?$")
END = re.compile(r"[.?!](?: &quot;|\s?\")?$")


def detokenize(line: str, language: str | None = None) -> str:
    """A tokenised line as plain text.

    Args:
        line: tokens separated by spaces, perhaps with tokenizer.perl's escapes.
        language: its code; French puts a space before some signs and, with Italian, none after an elision.
    """
    line = line.replace(" @-@ ", "-").replace(" @/@ ", "/")
    for escape, character in ESCAPES.items():
        line = line.replace(escape, character)
    words, text, space = line.split(), "", ""
    quotes = {"'": 0, '"': 0}
    code = (language or "")[:2]
    for place, word in enumerate(words):
        before, glue = _place(words, place, text, quotes, code)
        text += ("" if before else space) + word
        space = "" if glue else " "
    return text


def _place(words: Sequence[str], place: int, text: str, quotes: dict[str, int], code: str) -> tuple[bool, bool]:
    """Whether a word follows the text without a space, and whether the next one follows it so; counts quotes."""
    word = words[place]
    if LEFT.fullmatch(word):
        return False, True
    if RIGHT.fullmatch(word):
        return not (code == "fr" and FRENCH_SPACED.fullmatch(word)), False
    # tokenizer.perl cuts "don't" so in English alone; in other languages the apostrophe is a word.
    if CONTRACTION.match(word) and text[-1:].isalnum():
        return True, False
    if code in ("fr", "it", "ga") and ELISION.fullmatch(word) and place + 1 < len(words):
        return False, words[place + 1][0].isalpha()
    if QUOTE.fullmatch(word):
        return _quote(word, text, quotes, code)
    return False, False


def _quote(word: str, text: str, quotes: dict[str, int], code: str) -> tuple[bool, bool]:
    if code == "en" and word == "'" and text.endswith("s") and quotes["'"] % 2 == 0:
        return True, False  # the friends' house
    kind = "'" if set(word) <= set("'`") else '"'
    quotes[kind] += 1
    opens = quotes[kind] % 2 == 1
    return not opens, opens


def looks_tokenised(lines: Iterable[str], symbols: Iterable[str] = ()) -> bool:
    """Whether text was cut by tokenizer.perl: its escapes are there, or most sentences end in a sign of its own.

    Args:
        lines: of the text, subwords joined.
        symbols: of its dictionary.
    """
    if any(escape in symbol for symbol in symbols for escape in ("&apos;", "&quot;", "@-@")):
        return True
    cut = ended = escaped = 0
    for line in lines:
        stripped = line.rstrip()
        cut += bool(CUT_END.search(stripped))
        ended += bool(END.search(stripped))
        escaped += "&apos;" in stripped or "&quot;" in stripped or " @-@ " in stripped
    return escaped > 0 or cut > 0.5 * max(ended, 1)


def choose_detokenizer(asked: str, target: Iterable[str], symbols: Iterable[str]) -> str:
    """How translations become plain text: "moses" or "none". "auto" chooses by the data-bin's own target side.

    Raises:
        UserError: there is no such way.
    """
    if asked not in DETOKENIZERS:
        raise UserError(f"--detokenize {asked}: there is no such way; choose from {', '.join(DETOKENIZERS)}")
    if asked != AUTO:
        return asked
    if not looks_tokenised(target, symbols):
        return NONE
    logger.warning(
        "the data-bin's target text is Moses-tokenised: translations and tokenised references are detokenised before "
        "they are scored; --detokenize none leaves them"
    )
    return MOSES
