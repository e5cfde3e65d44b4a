"""Moses-tokenised text as plain text."""

import pytest

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.detokenize import choose_detokenizer, detokenize, looks_tokenised

LINES = {
    "x1 don &apos;t say &quot; x2 &quot; , x3 .": ("de", 'x1 don\'t say "x2", x3.'),
    "It &apos;s 5 @-@ 6 ( or 7 ) !": ("en", "It's 5-6 (or 7)!"),
    "the dogs &apos; bones &amp; more : $ 5 .": ("en", "the dogs' bones & more: $5."),
    "L&apos; eau est là ; pourquoi ?": ("fr", "L'eau est là ; pourquoi ?"),
    "L&apos; acqua è qui ; perché ?": ("it", "L'acqua è qui; perché?"),
    "&#91; a &#93; &lt; b &gt; &#124; &amp;apos;": (None, "[a] < b > | &apos;"),
    "&quot; one &quot; and &quot; two &quot;": ("en", '"one" and "two"'),
    "": (None, ""),
}


@pytest.mark.parametrize("line", LINES)
def test_lines(line: str) -> None:
    language, expected = LINES[line]
    assert detokenize(line, language) == expected


def test_plain_text_stays() -> None:
    line = "He doesn't say \"yes\", (at all): 5-6 of Tom's $5 & more."
    assert detokenize(line, "en") == line


def test_tokenised_text_is_known_by_escapes_or_ends() -> None:
    assert looks_tokenised([], ["<s>", "&apos;s"]) and looks_tokenised(["it &quot; x &quot;"])
    assert looks_tokenised(["so it is .", "is it ?", "yes."]) and not looks_tokenised(["so.", "well.", "is it ?"])
    assert not looks_tokenised(["a b c", "d"]) and not looks_tokenised([])


def test_the_choice() -> None:
    assert choose_detokenizer("auto", ["so it is ."], []) == "moses"
    assert choose_detokenizer("auto", ["so it is."], []) == "none"
    assert choose_detokenizer("none", ["so it is ."], []) == "none"
    with pytest.raises(UserError, match="--detokenize perl: there is no such way"):
        choose_detokenizer("perl", [], [])
