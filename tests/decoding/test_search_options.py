"""Length penalty, repeated n-grams, patience and prefix: both engines, and what is refused."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.tasks.translation import TranslationTask

from fairseq_kd import cli
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.ctranslate2.engine import CTranslate2Engine
from fairseq_kd.decoding.fairseq_engine import FairseqEngine
from fairseq_kd.decoding.interface import NOT_TRANSLATED
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import build_models
from fairseq_kd.storage.structured import read_json
from tests.decoding import test_engines
from tests.decoding.test_engines import engines, sources, task

__all__ = ["engines", "sources", "task"]
pytestmark = pytest.mark.usefixtures("one_thread")

Engines = tuple[FairseqEngine, CTranslate2Engine]

LIMITS: dict[str, Any] = {"max_len_a": 1.2, "max_len_b": 10}
SEARCHES = [
    DecodingOptions(beam=4, nbest=2, lenpen=0.6, **LIMITS),
    DecodingOptions(beam=5, nbest=2, lenpen=1.4, **LIMITS),
    DecodingOptions(beam=5, nbest=2, lenpen=0, **LIMITS),
    DecodingOptions(beam=5, lenpen=0.6, max_len_b=4),
]


@pytest.mark.parametrize("options", SEARCHES)
def test_both_engines_line_by_line(options: DecodingOptions, engines: Engines, sources: list[torch.Tensor]) -> None:
    test_engines.test_hypotheses_and_scores_are_fairseqs(options, engines, sources)
    expected, found = (engine.translate(sources, options) for engine in engines)
    assert [nbest[0].tokens for nbest in found] == [nbest[0].tokens for nbest in expected]
    assert [nbest[0].score for nbest in found] == pytest.approx([nbest[0].score for nbest in expected], abs=1e-3)


@pytest.fixture(scope="module")
def unsure(tiny_teacher: Path, task: TranslationTask) -> CTranslate2Engine:
    """CTranslate2 with a teacher of which hypotheses of many lengths are about as likely."""
    engine = choose_engine("ctranslate2", "float32", [str(tiny_teacher)], task).build()
    assert isinstance(engine, CTranslate2Engine)
    return engine


def test_a_probability_does_not_depend_on_the_length_penalty(
    unsure: CTranslate2Engine, sources: list[torch.Tensor]
) -> None:
    short, plain, long = (
        unsure.translate(sources, DecodingOptions(beam=4, nbest=4, lenpen=lenpen, **LIMITS)) for lenpen in (0, 1.0, 1.4)
    )
    for row in range(len(sources)):
        known = {h.tokens: h.probability for h in plain[row]}
        for other in (short[row], long[row]):
            assert all(h.probability == pytest.approx(known[h.tokens], rel=1e-3) for h in other if h.tokens in known)
    sizes = [sum(nbest[0].size for nbest in found) for found in (short, plain, long)]
    assert sizes[0] < sizes[1] <= sizes[2]


def _greedy(path: Path, task: TranslationTask, source: torch.Tensor, size: int, prefix: list[int]) -> str:
    """The likeliest next token again and again, of those that repeat no n-gram."""
    (model,) = build_models([path], task)
    dictionary, tokens = task.target_dictionary, list(prefix)
    while len(tokens) < 20:
        so_far = torch.tensor([[dictionary.eos(), *tokens]])
        net_output = model(source[None], torch.tensor([len(source)]), so_far)
        scores = model.get_normalized_probs(net_output, log_probs=True)[0, -1]
        grams = {tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)}
        for symbol in range(len(dictionary)):
            if (*tokens[len(tokens) - size + 1 :], symbol) in grams and len(tokens) >= size:
                scores[symbol] = -torch.inf
        scores[dictionary.pad()] = -torch.inf
        if not tokens:
            scores[dictionary.eos()] = -torch.inf
        best = int(scores.argmax())
        if best == dictionary.eos():
            break
        tokens.append(best)
    return dictionary.string(torch.tensor(tokens))


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("prefix", ["", "t9 t9 t9"])
def test_no_ngram_is_repeated(
    size: int, prefix: str, sure_teacher: Path, task: TranslationTask, engines: Engines, sources: list[torch.Tensor]
) -> None:
    """fairseq's own option has no effect on the CPU; a prefix may repeat what it likes."""
    options = DecodingOptions(beam=1, max_len_b=20, no_repeat_ngram_size=size, prefix=prefix)
    rows = [sources[row] for row in (0, 1, 2, 4)]
    symbols = [task.target_dictionary.index(token) for token in prefix.split()]
    expected = [_greedy(sure_teacher, task, row, size, symbols) for row in rows]
    assert [nbest[0].tokens for nbest in engines[0].translate(rows, options)] == expected
    free = [nbest[0].tokens for nbest in engines[0].translate(rows, replace(options, no_repeat_ngram_size=0))]
    assert free == [_greedy(sure_teacher, task, row, 99, symbols) for row in rows]
    assert prefix or free != expected


def test_each_hypothesis_of_a_beam_begins_with_the_prefix(engines: Engines, sources: list[torch.Tensor]) -> None:
    options = DecodingOptions(beam=4, nbest=4, prefix="t5 s7", **LIMITS)
    found = engines[0].translate(sources, options)
    assert found[3] == found[5] == [NOT_TRANSLATED] * 4
    tokens = [hypothesis.tokens for row, nbest in enumerate(found) for hypothesis in nbest if row not in (3, 5)]
    assert all(words.startswith("t5 s7") for words in tokens) and len(set(tokens)) > 20
    shortest = engines[0].translate(sources[:2], replace(options, max_len_a=0, max_len_b=2, nbest=1))
    assert [nbest[0].tokens for nbest in shortest] == ["t5 s7"] * 2


def test_no_hypothesis_of_a_beam_repeats_a_pair(engines: Engines, sources: list[torch.Tensor]) -> None:
    found = engines[0].translate(sources, DecodingOptions(beam=4, nbest=4, no_repeat_ngram_size=2, **LIMITS))
    for hypothesis in (hypothesis for nbest in found for hypothesis in nbest):
        tokens = hypothesis.tokens.split()
        pairs = list(itertools.pairwise(tokens))
        assert len(pairs) == len(set(pairs))


def test_patience_finds_better_hypotheses(unsure: CTranslate2Engine, sources: list[torch.Tensor]) -> None:
    """With a length penalty far above 1, long hypotheses win, which end late."""
    plain = DecodingOptions(beam=2, nbest=2, lenpen=2, **LIMITS)
    patient = DecodingOptions(beam=2, nbest=2, lenpen=2, patience=3, **LIMITS)
    short, long = (unsure.translate(sources, options) for options in (plain, patient))
    gains = [two[0].score - one[0].score for one, two in zip(short, long, strict=True)]
    assert min(gains) > -1e-4 and max(gains) > 0.01
    one = [DecodingOptions(beam=1, patience=patience, **LIMITS) for patience in (1, 3)]
    assert unsure.translate(sources, one[0]) == unsure.translate(sources, one[1])


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"lenpen": -1.0}, "--lenpen -1"),
        ({"lenpen": float("nan")}, "--lenpen nan"),
        ({"no_repeat_ngram_size": -1}, "--no-repeat-ngram-size -1"),
        ({"patience": 0.0}, "--patience 0"),
        ({"patience": 0.2, "nbest": 2}, "--patience 0.2: ends with 1 hypotheses, --nbest asks for 2"),
        ({"prefix": "a b", "max_len_b": 1}, "--prefix has 2 tokens, --max-len-b 1"),
    ],
)
def test_values_out_of_range(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        DecodingOptions(**wrong)


def test_each_engine_refuses_what_it_cannot_do(
    sure_teacher: Path, task: TranslationTask, engines: Engines, sources: list[torch.Tensor]
) -> None:
    patient, blocked = DecodingOptions(patience=2), DecodingOptions(no_repeat_ngram_size=2)
    begun = DecodingOptions(prefix="t5")
    both = DecodingOptions(patience=2, no_repeat_ngram_size=2)
    models = [str(sure_teacher)]

    def chosen(name: str, search: DecodingOptions) -> str:
        return choose_engine(name, "float32", models, task, search=search).engine

    assert [chosen("auto", search) for search in (patient, blocked, begun)] == ["ctranslate2", "fairseq", "fairseq"]
    with pytest.raises(UserError, match="--patience 2: fairseq's search has no patience; give --engine ctranslate2"):
        chosen("fairseq", patient)
    with pytest.raises(UserError, match="--engine ctranslate2: --no-repeat-ngram-size 2: ctranslate2 spreads"):
        chosen("ctranslate2", blocked)
    with pytest.raises(UserError, match="--engine ctranslate2: --prefix 't5': after a prefix, ctranslate2 keeps"):
        chosen("ctranslate2", begun)
    with pytest.raises(UserError, match=r"--patience 2: .*, and ctranslate2 cannot decode: --no-repeat-ngram-size 2"):
        chosen("auto", both)
    with pytest.raises(UserError, match=r"--patience 2: .*, and ctranslate2 cannot decode: 2 checkpoints"):
        choose_engine("auto", "float32", models * 2, task, search=patient)
    with pytest.raises(UserError, match="give --engine ctranslate2"):
        engines[0].translate(sources, patient)
    with pytest.raises(UserError, match="give --engine fairseq"):
        engines[1].translate(sources, blocked)


@pytest.mark.parametrize("prefix", ["t14 nothing", "</s>", "<pad>", "<unk>"])
def test_a_prefix_that_the_dictionary_lacks(prefix: str, sure_teacher: Path, task: TranslationTask) -> None:
    token = prefix.split()[-1]
    with pytest.raises(UserError, match=f"--prefix: the dictionary has no token '{token}'"):
        choose_engine("auto", "float32", [str(sure_teacher)], task, search=DecodingOptions(prefix=prefix))


def test_decode_records_what_is_not_a_default(sure_teacher: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    words = ["decode", "--model", str(sure_teacher), "--data", str(tiny_corpus), "--subset", "valid"]
    words += ["--beam", "2", "--max-len-b", "12"]
    cli.main([*words, "--output", str(tmp_path / "plain")])
    plain = read_json(tmp_path / "plain" / "signature.json")["options"]
    assert plain == {"beam": 2, "nbest": 1, "max_len_a": 0.0, "max_len_b": 12, "max_tokens": 4000}
    search = ["--lenpen", "0.6", "--prefix", " t14  t6 "]
    cli.main([*words, *search, "--output", str(tmp_path / "new")])
    assert read_json(tmp_path / "new" / "signature.json")["options"] == {
        **plain,
        "lenpen": 0.6,
        "prefix": "t14 t6",
    }
    lines = (tmp_path / "new" / "valid.tgt").read_text().splitlines()
    assert len(lines) == 40 and all(line.startswith("t14 t6") for line in lines)
    with pytest.raises(UserError, match=r"options\.lenpen is absent there, 0\.6 here"):
        cli.main([*words, *search, "--output", str(tmp_path / "plain")])
    with pytest.raises(UserError, match=r"options\.lenpen is 0\.6 there, absent here"):
        cli.main([*words, "--output", str(tmp_path / "new")])
    with pytest.raises(UserError, match="--lenpen goes with a beam search; leave out --sampling"):
        cli.main([*words, "--lenpen", "0.6", "--sampling", "--output", str(tmp_path / "sampled")])


def test_evaluate_records_and_uses_them(sure_teacher: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--model", str(sure_teacher), "--data", str(tiny_corpus), "--output", str(tmp_path / "a.json")]
    words += ["--beam", "2", "--max-len-b", "12"]
    cli.main([*words, "--lenpen", "0.6", "--no-repeat-ngram-size", "2"])
    made = read_json(tmp_path / "a.json")
    assert made["engine"] == "fairseq"
    limits = {"max_len_a": 0.0, "max_len_b": 12, "max_tokens": 4000}
    assert made["decoding"] == {**limits, "lenpen": 0.6, "no_repeat_ngram_size": 2}
    with pytest.raises(UserError, match=r"--patience 2\.0: fairseq's search has no patience"):
        cli.main([*words, "--patience", "2", "--compare-fairseq"])
