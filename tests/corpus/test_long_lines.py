"""Lines that sentencepiece does not learn from are counted, and an option raises the limit."""

import logging
from pathlib import Path

import pytest

from fairseq_kd.corpus.preparation.prepare import prepare
from fairseq_kd.errors import UserError


@pytest.fixture
def text(tmp_path: Path) -> dict[str, Path]:
    long = " ".join(["слово", "ещё"] * 350)
    for split, rows in (("train", 30), ("valid", 3), ("test", 3)):
        words = [f"word{row % 7} and word{row % 5} or" for row in range(rows)]
        (tmp_path / f"{split}.en").write_text("".join(f"{long if i % 3 == 0 else w}\n" for i, w in enumerate(words)))
        (tmp_path / f"{split}.de").write_text("".join(f"{word.upper()}\n" for word in words))
    return {split: tmp_path / split for split in ("train", "valid", "test")}


def test_lines_passed_over_and_unknown_subwords_are_told(
    text: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        counts = prepare(text, ("en", "de"), tmp_path / "out", vocab_size=26)["splits"]["train"]
    assert "10 of 60 lines are longer than 4192 bytes" in caplog.text and "--max-line-bytes" in caplog.text
    assert counts["unknown"][0] >= 10 and counts["unknown"][1] == 0
    assert f"train: {counts['unknown'][0]} subwords of the source" in caplog.text


def test_a_larger_limit_reads_them(text: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made = prepare(text, ("en", "de"), tmp_path / "out", vocab_size=34, longest_line=10000)
    assert made["splits"]["train"]["unknown"] == [0, 0] and caplog.text == ""


def test_a_limit_below_1_is_refused(text: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--max-line-bytes 0: give 1 or more"):
        prepare(text, ("en", "de"), tmp_path / "out", vocab_size=40, longest_line=0)
