"""Folders of models: which are taken, what is refused in one line, and what is kept."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd.decoding.open_text import open_translator
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.outside.model import OutsideText, open_outside
from fairseq_kd.decoding.outside.positions import UNLIMITED, positions
from fairseq_kd.decoding.outside.profile import Given
from fairseq_kd.decoding.text import NO_TEXT, check_tokenizer
from fairseq_kd.errors import UserError
from tests.decoding.outside.conftest import told
from tests.support.commands import ROOT
from tests.support.outside import sentences, train_spm

pytestmark = pytest.mark.usefixtures("one_thread")

LINES = [row[0] for row in sentences(30, seed=7)]
GERMAN = Given("en", "de")
OPTIONS = DecodingOptions(beam=2, nbest=2, max_len_b=50)


@pytest.fixture
def converted(multilingual: Path, tmp_path: Path) -> Path:
    """A CTranslate2 folder that a test may damage."""
    return shutil.copytree(multilingual / "ctranslate2", tmp_path / "model")


def opened(folder: Path, given: Given = GERMAN) -> OutsideText:
    return open_outside(str(folder), "fairseq-multilingual", given)


MULTI = {"profile": "fairseq-multilingual", "languages": ("en", "de")}


def test_a_profile_beside_the_model(converted: Path) -> None:
    expected = opened(converted).translate(LINES, OPTIONS)
    assert "model: give --profile, a YAML file or one of fairseq-multilingual" in told(converted).replace(
        str(converted), "model"
    )
    text = "{profile: fairseq-multilingual, source_lang: en, target_lang: de}"
    (converted / "fairseq_kd.yaml").write_text(text)
    translator = open_translator(str(converted))
    assert translator.translate(LINES, OPTIONS) == expected
    assert translator.languages == ("en", "de")
    assert len({nbest[0].text for nbest in expected}) > 10


def test_lines_that_are_not_translated_and_the_limit(converted: Path) -> None:
    """64 positions: the tag and the end leave 62 pieces."""
    translator = opened(converted)
    asked = ["", " \u2028 ", LINES[0], "tree " * 70, LINES[0].replace(" ", "\u2028 ")]
    assert [translator.takes(line) for line in asked] == [False, False, True, False, True]
    counted: list[int] = []
    found = translator.translate(asked, OPTIONS, counted.append)
    assert found[0] == found[1] == found[3] == [NO_TEXT] * 2
    assert found[2] == found[4] and found[2][0].text and sum(counted) == 5
    short = translator.translate(LINES, DecodingOptions(beam=2, max_len_b=3))
    assert max(len(nbest[0].tokens.split()) for nbest in short) == 3
    assert translator.translate([], OPTIONS) == []


def test_positions_are_read_from_the_model(converted: Path) -> None:
    assert positions(converted) == (64, 64)
    content = (converted / "model.bin").read_bytes()
    (converted / "model.bin").write_bytes(
        content.replace(b"position_encodings/encodings", b"position_encodings/others!!!")
    )
    assert positions(converted) == (UNLIMITED, UNLIMITED)
    (converted / "model.bin").write_bytes(
        content.replace(b"encoder/position_encodings/encodings", b"encoder/position_encodings/others!!!")
    )
    assert positions(converted) == (UNLIMITED, 64)
    (converted / "model.bin").write_bytes(content[: len(content) // 2])
    assert "model.bin is cut short; convert the model again" in told(converted, **MULTI)
    (converted / "model.bin").write_bytes(b"\x02" + content[1:])
    assert "model.bin has the format 2; convert the model again" in told(converted, **MULTI)


def test_the_longest_source_that_is_taken_is_translated(converted: Path) -> None:
    """One piece more would be an error of CTranslate2."""
    translator = opened(converted)
    piece = translator._pieces("tree")
    lines = ["tree " * count for count in range(1, 60)]
    longest = max((line for line in lines if translator.takes(line)), key=len)
    assert 55 < len(translator._pieces(longest)) + 2 <= 64 and piece
    assert translator.translate([longest], OPTIONS)[0][0] != NO_TEXT


def test_settings_tell_all_that_the_output_depends_on(converted: Path) -> None:
    made, other = opened(converted).settings, opened(converted, Given("en", "fr")).settings
    assert json.loads(json.dumps(made)) == made
    assert {key for key in made if made[key] != other[key]} == {"tags", "target"}
    assert (made["source"], made["target"], made["engine"]) == ("en", "de", "ctranslate2")
    assert [len(digest) for digest in [*made["models"], *made["tokenizers"].values()]] == [64] * 3


def test_a_tag_that_the_model_does_not_have(converted: Path) -> None:
    message = told(converted, profile="fairseq-multilingual", languages=("en", "deu"))
    assert (
        "profile fairseq-multilingual: target_prefix: the model's vocabulary has no '__deu__'; near are __de__"
        in message
    )
    message = told(converted, profile="mbart50", languages=("en_XX", "de_DE"), source_spm=converted / "spm.model")
    assert (
        "profile mbart50: source_prefix: the model's vocabulary has no 'en_XX'; is the profile the model's?" in message
    )


def test_a_tokenizer_that_is_not_the_models(converted: Path, tmp_path: Path) -> None:
    check_tokenizer(opened(converted), LINES)
    other = train_spm(tmp_path, "other.model", [row[0] for row in sentences(600)], 70, "word")
    wrong = opened(converted, Given("en", "de", other, other))
    with pytest.raises(UserError, match=r"\d+% of the symbols in the first 30 lines are unknown to the model"):
        check_tokenizer(wrong, LINES)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"source_spm": Path("none.model")}, "source_spm none.model: no such file"),
        ({"source_spm": Path(__file__)}, "not a sentencepiece model"),
        ({"data": "data-bin"}, "--data goes with a fairseq checkpoint"),
        ({"engine": "fairseq"}, "--engine fairseq: a CTranslate2 or Hugging Face folder is decoded by ctranslate2"),
        ({"sampling": True}, "--sampling needs a fairseq checkpoint"),
        ({"search": DecodingOptions(prefix="a")}, "--prefix needs a fairseq checkpoint"),
        ({"search": DecodingOptions(no_repeat_ngram_size=2)}, "--no-repeat-ngram-size 2: .*; only a fairseq"),
        ({"precision": "int4"}, "--precision int4: not supported"),
    ],
)
def test_options_that_a_folder_does_not_take(options: dict[str, Any], message: str, converted: Path) -> None:
    with pytest.raises(UserError, match=message):
        open_translator(str(converted), **MULTI, **options)


def test_a_checkpoint_does_not_take_a_profile(multilingual: Path) -> None:
    with pytest.raises(UserError, match="--profile nllb: goes with a CTranslate2 or Hugging Face folder"):
        open_translator(str(multilingual / "multilingual.pt"), profile="nllb")


def test_folders_that_are_no_model(converted: Path, tmp_path: Path) -> None:
    assert "neither a CTranslate2 folder (model.bin) nor a Hugging Face folder" in told(tmp_path)
    (converted / "config.json").unlink()
    assert "config.json: cannot be read" in told(converted, **MULTI)
    (converted / "shared_vocabulary.json").unlink()
    assert "has neither shared_vocabulary.json nor source_ and target_vocabulary.json" in told(converted, **MULTI)


def test_a_model_that_starts_with_its_tag(converted: Path) -> None:
    config = json.loads((converted / "config.json").read_text())
    (converted / "config.json").write_text(json.dumps(config | {"decoder_start_token": None}))
    assert "no decoder_start_token, as in mBART-25; such models are not taken" in told(converted, **MULTI)


def test_a_vocabulary_for_each_side(converted: Path) -> None:
    expected = opened(converted).translate(LINES, OPTIONS)
    tokens = json.loads((converted / "shared_vocabulary.json").read_text(encoding="utf-8"))
    (converted / "shared_vocabulary.json").unlink()
    (converted / "source_vocabulary.json").write_text(json.dumps(tokens))
    (converted / "target_vocabulary.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    assert opened(converted).translate(LINES, OPTIONS) == expected


def test_a_prefix_of_subwords_hides_no_text(converted: Path) -> None:
    piece = opened(converted).translate(LINES, OPTIONS)[0][0].tokens.split()[0]
    text = f"{{profile: fairseq-multilingual, source_lang: en, target_lang: de, target_prefix: '{piece}'}}"
    (converted / "fairseq_kd.yaml").write_text(text)
    translator = open_translator(str(converted))
    assert translator._text([piece, "▁a", piece, "</s>"], -1.0).tokens == f"▁a {piece}"  # type: ignore[attr-defined]


def test_lower_case(converted: Path) -> None:
    text = "{profile: fairseq-multilingual, source_lang: en, target_lang: de, casing: lower}"
    (converted / "fairseq_kd.yaml").write_text(text)
    lower, upper = [LINES[0].lower()], [LINES[0].upper()]
    translator = open_translator(str(converted))
    assert translator.settings == {**opened(converted).settings, "casing": "lower"}
    assert translator.translate(upper, OPTIONS) == translator.translate(lower, OPTIONS)
    assert translator.translate(lower, OPTIONS) == opened(converted).translate(lower, OPTIONS)
    assert translator.translate(upper, OPTIONS) != opened(converted).translate(upper, OPTIONS)


def test_a_suffix_without_the_end_that_ctranslate2_adds(converted: Path) -> None:
    (converted / "fairseq_kd.yaml").write_text(
        "{profile: fairseq-multilingual, source_lang: en, target_lang: de, source_suffix: ''}"
    )
    assert "source_suffix: has to end in </s>, as the sources of this model do" in told(converted)


def test_transformers_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that the message names exists."""
    (tmp_path / "config.json").write_text('{"model_type": "marian"}')
    for name in ("source.spm", "target.spm"):
        (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "needs transformers, which cannot be imported" in (message := told(tmp_path))
    assert "pip install 'transformers>=4.56,<5' protobuf" in message
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    assert 'name = "fairseq-kd"' in lines
    assert 'hf = ["transformers>=4.56,<5", "protobuf"]' in lines
