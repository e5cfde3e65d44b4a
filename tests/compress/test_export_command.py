"""`fairseq-kd export`: what it writes runs without fairseq and says what the engine says."""

from pathlib import Path

import ctranslate2
import pytest

from fairseq_kd import cli
from fairseq_kd.data.databins.databin import open_databin, read_dictionary
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash
from fairseq_kd.storage.structured import read_json
from tests.support.subwords import spm_of_symbols
from tests.support.training import train_model


def export(model: Path, data: Path, output: Path, *options: object) -> None:
    words = ["export", "--model", model, "--data", data, "--to", "ctranslate2", "--output", output, *options]
    cli.main([str(word) for word in words])


@pytest.mark.slow
def test_an_export_translates_as_the_engine_does(sure_teacher: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    task = open_databin(tiny_corpus, "test")
    pieces = spm_of_symbols(tmp_path / "spm.model", task.source_dictionary.symbols[4:])
    export(sure_teacher, tiny_corpus, tmp_path / "out", "--spm-model", pieces)
    sources = [task.dataset("test").src[row] for row in range(20)]
    engine = choose_engine("ctranslate2", "float32", [str(sure_teacher)], task).build()
    expected = [best[0].tokens for best in engine.translate(sources, DecodingOptions(max_len_b=20))]
    text = [task.source_dictionary.string(source).split() for source in sources]
    results = ctranslate2.Translator(str(tmp_path / "out")).translate_batch(text, beam_size=5, max_decoding_length=20)
    assert [" ".join(result.hypotheses[0]) for result in results] == expected
    signature = read_json(tmp_path / "out" / "signature.json")
    assert signature["model"] == file_hash(sure_teacher) and signature["precision"] == "float32"
    assert signature["parameters"] == engine.parameters and "ctranslate2" in signature["versions"]
    assert (tmp_path / "out" / "spm.model").read_bytes() == pieces.read_bytes()
    assert [path.name for path in tmp_path.glob("out*")] == ["out"]


def test_again_does_nothing_and_something_else_is_refused(
    tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    export(tiny_teacher, tiny_corpus, output, "--precision", "int8")
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    export(tiny_teacher, tiny_corpus, output, "--precision", "int8")
    assert "nothing to do" in caplog.text
    with pytest.raises(UserError, match="holds something else"):
        export(tiny_teacher, tiny_corpus, output)
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before
    with pytest.raises(UserError, match="holds something else"):
        export(tiny_teacher, tiny_corpus, tiny_corpus)
    with pytest.raises(UserError, match=r"--spm-model .*none: no such file"):
        export(tiny_teacher, tiny_corpus, tmp_path / "new", "--spm-model", tmp_path / "none")


def test_a_model_that_cannot_be_exported_leaves_nothing(tiny_corpus: Path, tmp_path: Path) -> None:
    model = train_model(tiny_corpus, tmp_path / "model", "--max-update", "1", architecture="lstm")
    with pytest.raises(UserError, match="--to ctranslate2: Model 'lstm' used by architecture 'lstm' is not supported"):
        export(model, tiny_corpus, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_sentencepiece_model_of_another_model(
    text_teacher: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It would lie beside the model without a word, and cut text into wrong symbols."""
    model, data = text_teacher / "checkpoint_last.pt", text_teacher / "data-bin"
    other = spm_of_symbols(tmp_path / "other.model", ["▁another", "▁model"])
    with pytest.raises(UserError, match=r"other.model: it lacks \d+% of the symbols of a dictionary of the model"):
        export(model, data, tmp_path / "out", "--spm-model", other)
    (tmp_path / "none.model").write_bytes(b"pieces")
    with pytest.raises(UserError, match=r"none.model: not a sentencepiece model"):
        export(model, data, tmp_path / "out", "--spm-model", tmp_path / "none.model")
    assert not (tmp_path / "out").exists()
    export(model, data, tmp_path / "own", "--spm-model", text_teacher / "spm.model")
    assert "become <unk>" not in caplog.text
    symbols = read_dictionary(data / "dict.src.txt").symbols[4:]
    larger = spm_of_symbols(tmp_path / "larger.model", [*symbols, *(f"▁more{number}" for number in range(40))])
    export(model, data, tmp_path / "larger", "--spm-model", larger)
    assert "larger.model: 6" in caplog.text and "become <unk>" in caplog.text
