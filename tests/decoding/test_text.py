"""Text in, text out: a fairseq checkpoint with its dictionaries and sentencepiece models."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch

from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.fairseq_text import FairseqText
from fairseq_kd.decoding.open_text import open_translator
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.text import NO_TEXT, TextHypothesis, TextTranslator, check_tokenizer, one_line
from fairseq_kd.errors import UserError
from tests.support.models import edited

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = DecodingOptions(beam=2, nbest=2, max_len_a=1.2, max_len_b=10)


def opened(folder: Path, **options: Any) -> TextTranslator:
    spm = folder / "spm.model"
    return open_translator(str(folder / "checkpoint_last.pt"), source_spm=spm, target_spm=spm, **options)


@pytest.fixture(scope="module")
def lines(tiny_text: Path) -> list[str]:
    return (tiny_text / "valid.src").read_text().splitlines()


@pytest.mark.parametrize("engine", ["ctranslate2", "fairseq"])
def test_text_is_translated_as_its_data_bin_is(engine: str, text_teacher: Path, lines: list[str]) -> None:
    translator = opened(text_teacher, engine=engine)
    assert translator.languages == ("src", "tgt")
    task = open_databin(text_teacher / "data-bin", "valid")
    chosen = choose_engine(engine, "float32", [str(text_teacher / "checkpoint_last.pt")], task)
    expected = chosen.build().translate([task.dataset("valid").src[row] for row in range(40)], OPTIONS)
    spm = sentencepiece.SentencePieceProcessor(model_file=str(text_teacher / "spm.model"))
    counted: list[int] = []
    found = translator.translate(lines, OPTIONS, counted.append)
    assert found == [
        [TextHypothesis(spm.decode(h.tokens.split()), h.tokens, h.score) for h in nbest] for nbest in expected
    ]
    assert sum(counted) == 40 and len({nbest[0].text for nbest in found}) > 10
    assert all("▁" not in hypothesis.text for nbest in found for hypothesis in nbest)


def test_two_checkpoints_are_an_ensemble(text_teacher: Path, lines: list[str]) -> None:
    path = str(text_teacher / "checkpoint_last.pt")
    spm = {"source_spm": text_teacher / "spm.model", "target_spm": text_teacher / "spm.model"}
    both, one = (open_translator(model, engine="fairseq", **spm) for model in (f"{path}:{path}", path))
    found, expected = (translator.translate(lines[:4], OPTIONS) for translator in (both, one))
    assert [nbest[0].text for nbest in found] == [nbest[0].text for nbest in expected]


def test_lines_that_are_not_translated(text_teacher: Path, lines: list[str]) -> None:
    translator = opened(text_teacher)
    asked = ["", lines[0], "s1 " * 600, " \u2028\x1c ", lines[0].replace(" ", "\u2028\r ")]
    assert [translator.takes(line) for line in asked] == [False, True, False, False, True]
    found = translator.translate(asked, OPTIONS)
    assert found[0] == found[2] == found[3] == [NO_TEXT] * 2
    assert found[4] == found[1] and found[1][0].text


def test_without_a_tokenizer_lines_are_tokens(sure_teacher: Path, tiny_corpus: Path, lines: list[str]) -> None:
    translator = open_translator(str(sure_teacher))
    task = open_databin(tiny_corpus, "valid")
    chosen = choose_engine("auto", "float32", [str(sure_teacher)], task)
    expected = chosen.build().translate([task.dataset("valid").src[row] for row in range(40)], OPTIONS)
    found = translator.translate(lines, OPTIONS)
    assert [[(h.text, h.tokens, h.score) for h in nbest] for nbest in found] == [
        [(h.tokens, h.tokens, h.score) for h in nbest] for nbest in expected
    ]


def test_words_that_fairseq_reserves_are_unknown_words(sure_teacher: Path) -> None:
    translator = open_translator(str(sure_teacher))
    assert isinstance(translator, FairseqText)
    dictionary = translator.task.source_dictionary
    ids = translator.encode("s1 </s> <pad> <unk> nothing <s>").tolist()
    assert ids == [dictionary.index("s1"), *[dictionary.unk()] * 5, dictionary.eos()]
    assert translator.unknown_share(["s1 s2", "", "what s3"]) == 0.25
    assert translator.unknown_share([""]) == 0


def test_a_tokenizer_that_is_not_the_models(text_teacher: Path, tiny_text: Path, lines: list[str]) -> None:
    check_tokenizer(opened(text_teacher), lines)
    with pytest.raises(UserError, match=r"\d+% of the symbols in the first 40 lines are unknown.*--spm-model"):
        check_tokenizer(open_translator(str(text_teacher / "checkpoint_last.pt")), ["bla " + line for line in lines])


def test_the_dictionaries_are_found(text_teacher: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    shutil.copy(text_teacher / "checkpoint_last.pt", path)

    def folder_of(model: Path, data: Path | None = None) -> Path:
        translator = open_translator(str(model), data=data, languages=("src", "tgt"))
        assert isinstance(translator, FairseqText)
        return Path(translator.task.cfg.data)

    assert folder_of(text_teacher / "checkpoint_last.pt") == text_teacher.resolve()
    assert folder_of(path, text_teacher / "data-bin") == text_teacher / "data-bin"
    with pytest.raises(UserError, match=r"dict\.src\.txt and dict\.tgt\.txt not found in .*--data DIR"):
        folder_of(path, tmp_path)
    with pytest.raises(UserError, match=r"--data .*none: no such folder"):
        folder_of(path, tmp_path / "none")
    with pytest.raises(UserError, match="its source vocabulary"):
        folder_of(path, tiny_corpus)


def test_languages_that_the_checkpoint_did_not_record(text_teacher: Path, tmp_path: Path) -> None:
    recorded = opened(text_teacher)

    def move(state: dict[str, Any]) -> None:
        state["cfg"]["task"]["data"] = str(tmp_path / "gone")

    path = str(edited(text_teacher / "checkpoint_last.pt", tmp_path, move))
    for name in ("dict.src.txt", "dict.tgt.txt"):
        shutil.copy(text_teacher / name, tmp_path)
    with pytest.raises(UserError, match="it recorded no languages; give them with --source-lang and --target-lang"):
        open_translator(path)
    for found in (
        open_translator(path, languages=("src", "tgt")),
        open_translator(path, data=text_teacher / "data-bin"),
    ):
        assert found.languages == recorded.languages == ("src", "tgt")
        assert found.settings["dictionaries"] == recorded.settings["dictionaries"]

    def record(state: dict[str, Any]) -> None:
        move(state)
        state["cfg"]["task"] |= {"source_lang": "src", "target_lang": "tgt"}

    (tmp_path / "b").mkdir()
    assert open_translator(str(edited(Path(path), tmp_path / "b", record)), data=tmp_path).languages == ("src", "tgt")


@pytest.mark.parametrize(
    "model, options, told",
    [
        (":", {}, "give the path of a checkpoint"),
        ("none.pt", {}, "none.pt: no such file"),
        ("opus-mt-en-de", {}, "opus-mt-en-de: no such file or folder; give .* nothing is downloaded"),
        ("opus-mt-en-de", {"profile": "opus-mt"}, "opus-mt-en-de: no such file or folder"),
        (None, {"source_spm": Path("none.model")}, "--source-spm none.model: no such file"),
        (None, {"target_spm": Path(__file__)}, "--target-spm .*test_text.py: not a sentencepiece model"),
        (None, dict.fromkeys(("source_spm", "target_spm"), Path(__file__)), "--spm-model .*test_text.py: not a sent"),
        (None, {"search": DecodingOptions(prefix="nothing")}, "--prefix: the dictionary has no token 'nothing'"),
        (None, {"engine": "none"}, "choose from auto"),
    ],
)
def test_what_cannot_be_opened(model: str | None, options: dict[str, Any], told: str, sure_teacher: Path) -> None:
    with pytest.raises(UserError, match=told):
        open_translator(model or str(sure_teacher), **options)


def test_settings_tell_all_that_the_output_depends_on(text_teacher: Path) -> None:
    with_spm, without = opened(text_teacher), open_translator(str(text_teacher / "checkpoint_last.pt"))
    assert without.settings == {**with_spm.settings, "tokenizers": {"source-spm": None, "target-spm": None}}
    made = with_spm.settings
    assert (made["engine"], made["precision"]) == ("ctranslate2", "float32")
    digests = [*made["models"], *made["dictionaries"].values(), *made["tokenizers"].values()]
    assert [len(digest) for digest in digests] == [64] * 5


def test_line_breaks_become_spaces() -> None:
    assert one_line("a\nb\u2028c\r\nd\x85e\x1cf\x0bg\n") == "a b c d e f g"
    assert one_line("") == ""


def test_torch_is_given_ids_of_one_row(sure_teacher: Path) -> None:
    translator = open_translator(str(sure_teacher))
    assert isinstance(translator, FairseqText)
    assert translator.encode("").tolist() == [translator.task.source_dictionary.eos()]
    assert translator.encode("s1").dtype == torch.int64
