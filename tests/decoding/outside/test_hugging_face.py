"""Hugging Face folders: conversions are kept and checked, and no code of a folder runs."""

import json
import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.outside.convert import import_transformers
from fairseq_kd.decoding.outside.model import open_outside
from fairseq_kd.decoding.outside.profile import Given
from tests.decoding.outside.conftest import told
from tests.support.outside import sentences

pytestmark = pytest.mark.usefixtures("one_thread")

LINES = [row[0] for row in sentences(30, seed=7)]
OPTIONS = DecodingOptions(beam=2, nbest=2, max_len_b=50)


def test_a_conversion_is_kept_until_the_model_changes(
    nllb: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRSEQ_KD_CACHE", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO)
    given = Given("eng_Latn", "deu_Latn")
    first = open_outside(str(nllb), given=given).settings
    assert open_outside(str(nllb), given=given).settings == first
    assert caplog.text.count("converting it for ctranslate2") == 1
    transformers: Any = import_transformers()
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(nllb)
    model.get_input_embeddings().weight.data[10] += 0.1
    model.save_pretrained(nllb)
    assert open_outside(str(nllb), given=given).settings["models"] != first["models"]
    assert caplog.text.count("converting it for ctranslate2") == 2


def test_weights_in_a_pickle_are_read_safely(nllb: Path) -> None:
    from safetensors.torch import load_file

    expected = open_outside(str(nllb), given=Given("eng_Latn", "deu_Latn")).translate(LINES, OPTIONS)
    state = load_file(nllb / "model.safetensors")
    (nllb / "model.safetensors").unlink()
    torch.save(state, nllb / "pytorch_model.bin")
    assert open_outside(str(nllb), given=Given("eng_Latn", "deu_Latn")).translate(LINES, OPTIONS) == expected


class Payload:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_that_runs_code_is_refused(nllb: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    pickle.loads(pickle.dumps(Payload(ran)))
    assert ran.exists()
    ran.unlink()
    (nllb / "model.safetensors").unlink()
    torch.save({"a": Payload(ran)}, nllb / "pytorch_model.bin")
    message = told(nllb, languages=("eng_Latn", "deu_Latn"))
    assert "pytorch_model.bin: refused and not run: its pickle asks for" in message
    (nllb / "pytorch_model.bin").write_bytes(b"nothing")
    assert "refused and not run: it is damaged or no file of weights" in told(nllb, languages=("eng_Latn", "deu_Latn"))
    (nllb / "pytorch_model.bin").unlink()
    assert "there are no weights (model.safetensors or pytorch_model.bin)" in told(
        nllb, languages=("eng_Latn", "deu_Latn")
    )
    assert not ran.exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_that_a_folder_brings_along_is_refused(name: str, nllb: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (nllb / "own.py").write_text(f"import pathlib; pathlib.Path({str(ran)!r}).touch()\nclass Own: pass\n")
    content = json.loads((nllb / name).read_text())
    content["auto_map"] = {"AutoConfig": "own.Own", "AutoTokenizer": ["own.Own", None]}
    (nllb / name).write_text(json.dumps(content))
    message = told(nllb, languages=("eng_Latn", "deu_Latn"))
    assert f"{name}: names Python code of its own (auto_map), which is never run" in message
    assert not ran.exists()


def test_a_conversion_with_other_probabilities_is_refused(hugging_face: Callable[[str], Path], tmp_path: Path) -> None:
    """Marian starts from zeros. Training in transformers can change the embedding from which its models start."""
    folder = shutil.copytree(hugging_face("opus-mt"), tmp_path / "marian")
    transformers: Any = import_transformers()
    model = transformers.MarianMTModel.from_pretrained(folder)
    model.get_input_embeddings().weight.data[-1] = 1
    model.save_pretrained(folder)
    message = told(folder, languages=(None, "deu"))
    assert f"model {folder}: the converted model gives other probabilities" in message


def test_a_model_with_several_target_languages_and_none_given(
    hugging_face: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    """It would translate the whole text into a language of its choice."""
    open_outside(str(hugging_face("opus-mt")), given=Given(target_lang="deu"))
    assert "tags" not in caplog.text
    open_outside(str(hugging_face("opus-mt")))
    assert "the model knows 2 tags such as >>deu<<; give one's language as --target-lang, or" in caplog.text


def test_a_folder_that_the_converter_does_not_take(nllb: Path) -> None:
    content = json.loads((nllb / "config.json").read_text())
    (nllb / "config.json").write_text(json.dumps(content | {"model_type": "led"}))
    message = told(nllb, profile="nllb", languages=("eng_Latn", "deu_Latn"))
    assert "No conversion is registered for the model configuration LEDConfig" in message


def test_damaged_weights(nllb: Path) -> None:
    (nllb / "model.safetensors").write_bytes(b"nothing")
    assert str(nllb) in told(nllb, languages=("eng_Latn", "deu_Latn"))
