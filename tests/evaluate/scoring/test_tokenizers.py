"""How text is cut for BLEU: the choice, its warnings, the scores, and that all measures cut alike."""

import importlib.util
import random

import pytest
from sacrebleu.metrics import BLEU, TER
from sacrebleu.significance import PairedTest

from fairseq_kd.data.text.unspaced import language_without_spaces
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scoring.bootstrap import Bootstrap
from fairseq_kd.evaluate.scoring.scores import Scoring, choose_scoring, make_bleu, score_text
from fairseq_kd.evaluate.scoring.tokenizers import TOKENIZERS, choose_tokenizer
from fairseq_kd.study.resampling import bleu, bleu_statistics

CHINESE = ["今天天气很好。", "我们学习机器翻译，老师喜欢 Python 3。"]
JAPANESE = ["今日は天気がいいです。", "私たちは機械翻訳を勉強します。"]
GERMAN = ["Das Wetter ist gut.", "Wir lernen 3,5 Wörter."]
ENGLISH_WITH_A_NAME = ["The city of Beijing (北京) has more than 20 million people in it.", "It is large."]
WORDS = ["天气", "今天", "很好", "我们", "学习", "机器", "翻译", "老师", "，", "Python", "3.5"]
MECAB = importlib.util.find_spec("MeCab") is not None


def chinese(seed: int, keep: float) -> list[str]:
    """Eighty lines, of which a share of words is kept and the others are drawn anew."""
    text, draw = random.Random(0), random.Random(seed)
    lines = [[text.choice(WORDS) for _ in range(3 + row % 12)] for row in range(80)]
    return ["".join(word if draw.random() < keep else draw.choice(WORDS) for word in line) + "。" for line in lines]


REFERENCES = chinese(0, 1.0)


def test_the_names_are_sacrebleus() -> None:
    assert set(BLEU.TOKENIZERS) <= set(TOKENIZERS) and TOKENIZERS[0] == BLEU.TOKENIZER_DEFAULT


@pytest.mark.parametrize(
    ("lines", "target", "language"),
    [
        (CHINESE, "zh_CN", "Chinese"),
        (CHINESE, "tgt", "Chinese"),
        (CHINESE, None, "Chinese"),
        (JAPANESE, "tgt", "Japanese"),
        (JAPANESE, "zh", "Japanese"),  # Kana are decisive
        (["東京都知事"], "jpn_Jpan", "Japanese"),  # and the code is where there are none
        (ENGLISH_WITH_A_NAME, "en", None),
        (ENGLISH_WITH_A_NAME, "yue-HK", "Chinese"),
        (GERMAN, "de", None),
        (["ni hao"], "zh", None),
        ([""], "de", None),
        (["한국어는 띄어쓰기가 있다."], "ko", None),
        (["วันนี้อากาศดีมาก"], "th", "Thai"),
        (["ថ្ងៃនេះអាកាសធាតុល្អ"], "x", "Khmer"),
    ],
)
def test_the_language_is_that_of_the_letters(lines: list[str], target: str | None, language: str | None) -> None:
    assert language_without_spaces(lines, target) == language


@pytest.mark.parametrize(("lines", "tokenize"), [(CHINESE, "zh"), (GERMAN, "13a"), (["วันนี้อากาศดีมาก"], "char")])
def test_auto_chooses_by_the_text(lines: list[str], tokenize: str, caplog: pytest.LogCaptureFixture) -> None:
    assert choose_tokenizer("auto", lines, "tgt") == tokenize
    assert choose_tokenizer(tokenize, lines, "tgt") == tokenize and not caplog.records


@pytest.mark.parametrize("tokenize", ["13a", "intl", "none"])
def test_words_cut_at_spaces_that_are_not_there_make_a_warning(tokenize: str, caplog: pytest.LogCaptureFixture) -> None:
    assert choose_tokenizer(tokenize, GERMAN, "de") == tokenize and not caplog.records
    assert choose_tokenizer(tokenize, CHINESE, "tgt") == tokenize
    assert f"--tokenize {tokenize} cuts words at spaces, but Chinese text has none" in caplog.text
    assert "give --tokenize zh" in caplog.text
    caplog.clear()
    choose_tokenizer(tokenize, JAPANESE, "tgt")
    assert "Japanese" in caplog.text and "give --tokenize ja-mecab" in caplog.text


@pytest.mark.skipif(MECAB, reason="MeCab is installed")
def test_a_missing_package_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=r": --tokenize ja-mecab: needs .* pip install 'sacrebleu\[ja\]', or .* char$"):
        choose_scoring("ja-mecab", JAPANESE, "ja")
    assert choose_scoring("auto", JAPANESE, "ja") == Scoring("char", asian_ter=True)
    assert "counts characters" in caplog.text and "sacrebleu[ja]" in caplog.text


def test_a_tokenizer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="--tokenize zhh: no tokenizer of sacreBLEU; choose from auto, 13a"):
        choose_scoring("zhh", CHINESE, "zh")


@pytest.mark.parametrize("tokenize", ["zh", "char", "intl"])
def test_scores_are_sacrebleus_with_that_tokenizer(tokenize: str) -> None:
    hypotheses = chinese(1, 0.7)
    scores = score_text(hypotheses, REFERENCES, choose_scoring(tokenize, REFERENCES, "tgt"))
    plain, metric = BLEU(), BLEU(tokenize=tokenize)
    assert scores["bleu"]["score"] == metric.corpus_score(hypotheses, [REFERENCES]).score
    assert scores["bleu"]["signature"] == str(metric.get_signature()) and f"tok:{tokenize}" in str(
        metric.get_signature()
    )
    assert abs(scores["bleu"]["score"] - plain.corpus_score(hypotheses, [REFERENCES]).score) > 5 or tokenize == "intl"
    ter = TER() if tokenize == "intl" else TER(normalized=True, asian_support=True)
    assert scores["ter"]["score"] == ter.corpus_score(hypotheses, [REFERENCES]).score


@pytest.mark.parametrize("tokenize", ["zh", "char"])
def test_intervals_and_p_values_are_of_the_same_tokenizer(tokenize: str) -> None:
    one, other = chinese(1, 0.7), chinese(2, 0.67)
    bootstrap = Bootstrap(REFERENCES, tokenize)
    found = [bootstrap.resample(lines) for lines in (one, other)]
    metrics = {"BLEU": BLEU(tokenize=tokenize, references=[REFERENCES])}
    first, second = PairedTest([("a", one), ("b", other)], metrics, None, test_type="bs", n_samples=1000)()[1]["BLEU"]
    assert (found[0].score, found[0].interval()) == (first.score, first.ci)
    assert found[0].p_value(found[1]) == second.p_value < 1
    assert Bootstrap(REFERENCES).resample(one).interval() != first.ci
    assert bleu(bleu_statistics(one, REFERENCES, tokenize).sum(axis=0)) == pytest.approx(first.score)


def test_sentences_count_as_sacrebleus_own() -> None:
    metric, own = make_bleu("zh", sentences=True), BLEU(tokenize="zh", effective_order=True)
    assert (
        metric.sentence_score("今天很好", ["今天天气很好"]).score
        == own.sentence_score("今天很好", ["今天天气很好"]).score
    )
