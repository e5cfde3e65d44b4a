"""Moses-tokenised text as plain text."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.options import ScoreOptions
from fairseq_kd.evaluate.scoring.detokenize import choose_detokenizer, detokenize, looks_tokenised
from fairseq_kd.evaluate.scoring.scores import references_of_each
from fairseq_kd.evaluate.sentences import read_sentences
from tests.support.databins import write_databin

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


TOKENISED = ["it &apos;s w0 , w1 .", "so &quot; w2 &quot; ."] * 3
PLAIN = ["it's w0, w1.", 'so "w2".'] * 3


def scoring(files: Sequence[Path], detokenize: str = "none") -> ScoreOptions:
    """How 13a scores whole words."""
    return ScoreOptions(files, post_process="none", tokenize="13a", detokenize=detokenize)


@pytest.mark.parametrize("first", [PLAIN, TOKENISED])
@pytest.mark.parametrize("second", [PLAIN, [*TOKENISED[:4], "", ""]])
def test_each_reference_is_made_plain_by_its_own_look(tmp_path: Path, first: list[str], second: list[str]) -> None:
    """Also where the first reference is plain and a further one is tokenised."""
    data = write_databin(tmp_path / "bin", ("de", "en"), {"test": 6})
    files = [tmp_path / "first", tmp_path / "second"]
    for path, lines in zip(files, (first, second), strict=True):
        path.write_text("".join(f"{line}\n" for line in lines))
    found = read_sentences(open_databin(data, "test", ("de", "en")), "test", scoring(files, "moses"))
    assert found.references == PLAIN
    assert found.more_references == [[plain if line else None for plain, line in zip(PLAIN, second, strict=True)]]


def test_a_tokenised_reference_of_plain_translations_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write_databin(tmp_path / "bin", ("de", "en"), {"test": 6})
    files = [tmp_path / "first", tmp_path / "second"]
    for path, lines in zip(files, (PLAIN, TOKENISED), strict=True):
        path.write_text("".join(f"{line}\n" for line in lines))
    task = open_databin(data, "test", ("de", "en"))
    found = read_sentences(task, "test", scoring(files, "auto"))
    assert (found.references, found.more_references, found.detokenize) == (PLAIN, [TOKENISED], "none")
    told = [record.message for record in caplog.records if "Moses-tokenised" in record.message]
    assert len(told) == 1 and told[0].startswith(f"reference {files[1]}: is Moses-tokenised, but")
    assert told[0].endswith("give plain text, or --detokenize moses")
    caplog.clear()
    read_sentences(task, "test", scoring(files[:1], "auto"))
    assert "Moses-tokenised" not in caplog.text


def test_each_reference_is_looked_at_for_its_case(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write_databin(tmp_path / "bin", ("de", "en"), {"test": 6})
    task = open_databin(data, "test", ("de", "en"))
    lines = read_sentences(task, "test", scoring([])).references
    files = [tmp_path / "same", tmp_path / "capitals"]
    files[0].write_text("".join(f"{line}\n" for line in lines))
    files[1].write_text("".join(f"{line.upper()}\n" for line in [*lines[:5], ""]))
    read_sentences(task, "test", scoring(files))
    assert f"reference {files[1]}: 5 of 6 lines differ" in caplog.text and str(files[0]) not in caplog.text
    caplog.clear()
    read_sentences(task, "test", replace(scoring(files), lowercase=True))
    assert not caplog.records


def test_a_row_without_the_first_reference_has_the_others_alone(tmp_path: Path) -> None:
    """An empty reference would count in the brevity penalty, as that nearest in length to a short translation."""
    data = write_databin(tmp_path / "bin", ("de", "en"), {"test": 6})
    files = [tmp_path / name for name in ("first", "second", "third")]
    columns = (["", "", "c", "d", "", "f"], ["A b", "", "", "D", "", "F"], ["x", "y z", "", "", "", "F f"])
    for path, lines in zip(files, columns, strict=True):
        path.write_text("".join(f"{line}\n" for line in lines))
    found = read_sentences(open_databin(data, "test", ("de", "en")), "test", scoring(files))
    given = [[line for line in row if line] or [""] for row in zip(*columns, strict=True)]
    assert references_of_each(found.references, found.more_references) == given
