"""Translations with <unk>, and models whose scores are no numbers."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd import cli
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.fairseq_engine import FairseqEngine
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.storage.structured import read_json
from tests.support.models import edited

pytestmark = pytest.mark.usefixtures("one_thread")
UNK = 3


def writing(symbol: int, tiny_corpus: Path, tiny_teacher: Path, folder: Path) -> Path:
    """The teacher, which writes ``symbol`` where it wrote the word that it writes most."""
    task = open_databin(tiny_corpus, "test")
    rows = [task.dataset("test").src[row] for row in range(20)]
    found = FairseqEngine([str(tiny_teacher)], task).translate(rows, DecodingOptions(max_len_b=10))
    ((word, _),) = Counter(token for nbest in found for token in nbest[0].tokens.split()).most_common(1)

    def change(state: dict[str, Any]) -> None:
        for name in ("decoder.embed_tokens.weight", "decoder.output_projection.weight"):
            weight = state["model"][name] = state["model"][name].clone()
            weight[symbol] = weight[task.target_dictionary.index(word)] * 1.5

    return edited(tiny_teacher, folder, change)


@pytest.fixture(scope="module")
def unsure(tiny_corpus: Path, tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher with <unk> as its favourite."""
    return writing(UNK, tiny_corpus, tiny_teacher, tmp_path_factory.mktemp("unsure"))


@pytest.mark.parametrize("engine", ["fairseq", "ctranslate2"])
def test_a_beginning_that_is_written_counts_in_the_probability(
    engine: str, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """The text leaves <s> out. With length penalty 0 a score is the probability itself, whatever the length."""
    task = open_databin(tiny_corpus, "test")
    model = writing(task.target_dictionary.bos(), tiny_corpus, tiny_teacher, tmp_path)
    chosen = choose_engine(engine, "float32", [str(model)], task).build()
    rows = [task.dataset("test").src[row] for row in range(20)]
    plain, penalised = (
        [nbest[0] for nbest in chosen.translate(rows, DecodingOptions(beam=1, max_len_b=10, lenpen=lenpen))]
        for lenpen in (0.0, 1.0)
    )
    assert [one.tokens for one in plain] == [one.tokens for one in penalised]
    assert any(one.unseen for one in penalised) and not any("<s>" in one.tokens for one in penalised)
    wanted = [one.probability for one in plain]
    assert [one.probability for one in penalised] == pytest.approx(wanted, rel=1e-3)


def decode(model: Path, data: Path, output: Path, *words: str) -> dict[str, Any]:
    fixed = ["--model", str(model), "--data", str(data), "--subset", "test", "--output", str(output)]
    cli.main(["decode", *fixed, "--max-len-b", "10", *words])
    return read_json(output / "signature.json")


@pytest.mark.parametrize("engine", ["fairseq", "ctranslate2"])
def test_unknown_symbols_are_counted(
    engine: str, unsure: Path, tiny_corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = decode(unsure, tiny_corpus, tmp_path, "--engine", engine)["unknown"]
    lines = (tmp_path / "test.tgt").read_text().splitlines()
    tokens = [line.split().count("<unk>") for line in lines]
    assert found == {"rows": sum(map(bool, tokens)), "tokens": sum(tokens)} and found["rows"] > 0
    assert f"of {found['rows']} rows hold {found['tokens']} <unk>" in caplog.text and "--no-unk" in caplog.text


def test_no_unk_forbids_them(unsure: Path, tiny_corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made = decode(unsure, tiny_corpus, tmp_path, "--no-unk")
    text = (tmp_path / "test.tgt").read_text()
    assert "<unk>" not in text and text.strip() and made["unknown"] == {"rows": 0, "tokens": 0}
    assert made["options"]["no_unk"] is True and made["engine"] == "fairseq" and "hold" not in caplog.text


def test_samples_are_told_options_that_they_take(
    unsure: Path, tiny_corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = decode(unsure, tiny_corpus, tmp_path, "--sampling")["unknown"]
    assert f"of {found['rows']} rows hold {found['tokens']} <unk>" in caplog.text and found["rows"] > 0
    assert "--no-unk" not in caplog.text and "--top-k" in caplog.text


def test_an_engine_that_cannot_forbid_them_says_so(unsure: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--engine ctranslate2: --no-unk: ctranslate2 spreads"):
        decode(unsure, tiny_corpus, tmp_path, "--no-unk", "--engine", "ctranslate2")
    with pytest.raises(UserError, match="--no-unk goes with a beam search"):
        decode(unsure, tiny_corpus, tmp_path, "--no-unk", "--sampling")


def test_a_usual_teacher_finds_the_same_without_unk(tiny_corpus: Path, sure_teacher: Path) -> None:
    task = open_databin(tiny_corpus, "test")
    engine = FairseqEngine([str(sure_teacher)], task)
    rows = [task.dataset("test").src[row] for row in range(5)]
    found = [engine.translate(rows, DecodingOptions(max_len_b=10, no_unk=no_unk)) for no_unk in (False, True)]
    assert found[0] == found[1]


@pytest.mark.parametrize("words", [("--engine", "fairseq"), ("--engine", "ctranslate2"), ("--sampling",)])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_model_without_scores_is_named_with_its_row(
    words: tuple[str, ...], value: float, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    word = int(open_databin(tiny_corpus, "test").dataset("test").src[3][0])

    def change(state: dict[str, Any]) -> None:
        state["model"]["encoder.embed_tokens.weight"][word] = value

    broken = edited(tiny_teacher, tmp_path, change)
    told = rf"row \d+ \(from 0\) of test by {broken}.*NaN or infinite scores"
    if "--sampling" in words:
        told = rf"teacher {broken}: its answer is NaN or infinite for rows \d+"
    with pytest.raises(UserError, match=told):
        decode(broken, tiny_corpus, tmp_path / "out", *words)
