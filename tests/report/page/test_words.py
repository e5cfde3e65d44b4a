"""Which words of a text the page marks, beside another text."""

import json
from pathlib import Path

import pytest

from tests.support.browser import Browser

pytest.importorskip("bokeh")


def common(one: list[str], other: list[str]) -> int:
    """The length of the longest common subsequence."""
    lengths = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            lengths[i + 1][j + 1] = lengths[i][j] + 1 if a == b else max(lengths[i][j + 1], lengths[i + 1][j])
    return lengths[-1][-1]


TEXTS = (
    ("a b c d", "a c d e"), ("", "x y"), ("x  y", ""), ("the cat sat , here", "a cat sat there"), ("b a", "a b a b"),
    ("Don't stop.", "Do stop !"), ("我喜欢猫", "我很喜欢狗"), ("ein zwei", "drei vier"),
)  # fmt: skip


def test_word_runs(browser: Browser, page: Path) -> None:
    browser.open(page)
    for text, beside in TEXTS:
        runs = browser.run(f"wordRuns({json.dumps(text)}, {json.dumps(beside)})")
        words = browser.run(f"{json.dumps([text, beside])}.map((one) => wordsOf(one).map((word) => word.text))")
        assert "".join(gap + run for kind, gap, run in runs if kind != "missing") == text.rstrip()
        same = [run for kind, _, run in runs if kind == "same"]
        kept = browser.run(f"{json.dumps(same)}.flatMap((one) => wordsOf(one)).length")
        assert kept == common(*words)
    assert browser.run("""wordsOf("我喜欢 Don't!").map((word) => word.text)""") == ["我", "喜", "欢", "Don't", "!"]
