"""ROUGE and short BLEU against definitions written out here, and several references against sacreBLEU."""

import math
import re
import sys
from collections import Counter

import numpy as np
import pytest
import sacrebleu

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scoring.bootstrap import Bootstrap
from fairseq_kd.evaluate.scoring.more_scores import check_metrics, more_scores, warn_of_script
from fairseq_kd.evaluate.scoring.scores import Scoring, score_text

WORDS = ["the", "big", "red", "fox", "saw", "a", "small", "dog", "in", "our", "old", "yard", "and", "ran", "home", "at"]
"""Words that the stemmer leaves as they are."""


def lines(seed: int, count: int = 25) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, size=draw.integers(3, 15))) for _ in range(count)]


def spoilt(given: list[str], seed: int) -> list[str]:
    """The lines with a quarter of their words changed, and every other one without its last word."""
    draw = np.random.default_rng(seed)
    changed = [" ".join(w if draw.random() > 0.25 else draw.choice(WORDS) for w in line.split()) for line in given]
    return [line.rpartition(" ")[0] if row % 2 else line for row, line in enumerate(changed)]


REFERENCES = lines(2)
HYPOTHESES = spoilt(REFERENCES, 1)


def grams(words: list[str], order: int) -> Counter:
    return Counter(tuple(words[place : place + order]) for place in range(len(words) - order + 1))


def f1(matched: int, predicted: int, wanted: int) -> float:
    precision, recall = matched / max(predicted, 1), matched / max(wanted, 1)
    return 2 * precision * recall / (precision + recall) if matched else 0.0


def rouge_n(line: str, reference: str, order: int) -> float:
    """Lin 2004: F1 over clipped matches of n-grams."""
    one, other = grams(line.split(), order), grams(reference.split(), order)
    return f1((one & other).total(), one.total(), other.total())


def rouge_l(line: str, reference: str) -> float:
    """Lin 2004: F1 over the longest common subsequence."""
    one, other = line.split(), reference.split()
    longest = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for row, word in enumerate(one):
        for column, wanted in enumerate(other):
            best = max(longest[row][column + 1], longest[row + 1][column])
            longest[row + 1][column + 1] = longest[row][column] + 1 if word == wanted else best
    return f1(longest[-1][-1], len(one), len(other))


def bleu(order: int) -> float:
    """Papineni et al. 2002: the geometric mean of clipped precisions of the corpus, times the brevity penalty."""
    pairs = [(line.split(), reference.split()) for line, reference in zip(HYPOTHESES, REFERENCES, strict=True)]
    precisions = []
    for size in range(1, order + 1):
        matched = sum((grams(one, size) & grams(other, size)).total() for one, other in pairs)
        precisions.append(matched / sum(grams(one, size).total() for one, _ in pairs))
    lengths = [sum(len(pair[side]) for pair in pairs) for side in (0, 1)]
    penalty = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    return 100 * penalty * math.exp(sum(map(math.log, precisions)) / order)


def test_rouge_is_its_definition() -> None:
    found = more_scores(HYPOTHESES, [REFERENCES], Scoring(), ["rouge"])
    pairs = list(zip(HYPOTHESES, REFERENCES, strict=True))
    expected = {
        "rouge1": [rouge_n(*pair, 1) for pair in pairs],
        "rouge2": [rouge_n(*pair, 2) for pair in pairs],
        "rougeL": [rouge_l(*pair) for pair in pairs],
    }
    assert list(found) == list(expected)
    for kind, each in expected.items():
        assert found[kind]["score"] == pytest.approx(100 * sum(each) / len(each), rel=1e-12)
        assert re.fullmatch(r"rouge-score [\d.]+\|stemmer:yes\|F1\|nrefs:1", found[kind]["signature"])


def test_rouge_stems_words_and_takes_the_best_reference() -> None:
    assert more_scores(["Dogs running!"], [["dog runs"]], Scoring(), ["rouge"])["rouge2"]["score"] == 100
    several = more_scores(HYPOTHESES, [REFERENCES, [None] * 20 + HYPOTHESES[20:]], Scoring(), ["rouge"])["rougeL"]
    each = [rouge_l(*pair) for pair in zip(HYPOTHESES[:20], REFERENCES[:20], strict=True)] + [1.0] * 5
    assert several["score"] == pytest.approx(100 * sum(each) / 25)


@pytest.mark.parametrize(
    ("line", "told"), [("今天天气很好", True), ("Сегодня хорошо", True), ("Größe über Öl, 5 €", False)]
)
def test_rouge_of_letters_that_it_does_not_count_is_told(
    line: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """rouge-score leaves out all letters but a to z: a perfect Chinese translation has 0."""
    warn_of_script([line] * 3, ["bleu1"])
    assert not caplog.records
    warn_of_script([line] * 3, ["rouge"])
    found = more_scores([line] * 3, [[line] * 3], Scoring(), ["rouge"])
    assert (found["rouge1"]["score"] == 0) == told == ("--metrics rouge counts a to z and digits alone" in caplog.text)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("tokenize", ["none", "13a"])
def test_short_bleu_is_its_definition(order: int, tokenize: str) -> None:
    found = more_scores(HYPOTHESES, [REFERENCES], Scoring(tokenize), [f"bleu{order}"])[f"bleu{order}"]
    assert found["score"] == pytest.approx(bleu(order), rel=1e-9)
    assert f"tok:{tokenize}" in found["signature"] and found["signature"].endswith(f"|order:{order}")


def test_several_references() -> None:
    """A row without a second one has None: an empty line would count as a reference of no words."""
    more = [None if row % 3 else line for row, line in enumerate(lines(3))]
    found = score_text(HYPOTHESES, REFERENCES, more=[more])
    for name, metric in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF()), ("ter", sacrebleu.TER())):
        assert found[name]["score"] == metric.corpus_score(HYPOTHESES, [REFERENCES, more]).score
        assert "nrefs:var" in found[name]["signature"]
    assert found["bleu"]["score"] > score_text(HYPOTHESES, REFERENCES)["bleu"]["score"]
    assert Bootstrap(REFERENCES, "13a", [more]).resample(HYPOTHESES).score == pytest.approx(found["bleu"]["score"])


def test_what_cannot_be_scored_is_told_before_the_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    check_metrics(["rouge", "bleu1"])
    with pytest.raises(UserError, match="--metrics meteor: there is no such metric; choose from rouge, bleu1"):
        check_metrics(["bleu1", "meteor"])
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    check_metrics(["bleu1"])
    with pytest.raises(UserError, match=r"needs the package rouge-score .*pip install 'fairseq-kd\[rouge\]'"):
        check_metrics(["rouge"])
