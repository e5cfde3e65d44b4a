"""CTranslate2 against fairseq's own search, and which of them decodes what."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import ctranslate2
import pytest
import torch
from fairseq.tasks.translation import TranslationTask
from omegaconf import OmegaConf

from fairseq_kd import cli
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.ctranslate2.conversion import kept_conversion
from fairseq_kd.decoding.ctranslate2.engine import CTranslate2Engine
from fairseq_kd.decoding.fairseq_engine import FairseqEngine
from fairseq_kd.decoding.interface import NOT_TRANSLATED
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.storage.structured import read_json
from tests.support.commands import run_command
from tests.support.models import edited
from tests.support.training import train_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def task(tiny_corpus: Path) -> TranslationTask:
    return open_databin(tiny_corpus, "valid")


@pytest.fixture(scope="module")
def sources(task: TranslationTask) -> list[torch.Tensor]:
    """40 sentences of which one is empty, one too long, and one has a word that no dictionary has."""
    rows = [task.dataset("valid").src[row] for row in range(40)]
    rows[3] = rows[3][-1:]
    rows[5] = torch.cat([rows[5][:1].repeat(1024), rows[5][-1:]])
    rows[9][0] = task.source_dictionary.unk()
    return rows


@pytest.fixture(scope="module")
def engines(sure_teacher: Path, task: TranslationTask) -> tuple[FairseqEngine, CTranslate2Engine]:
    chosen = choose_engine("auto", "float32", [str(sure_teacher)], task)
    assert (chosen.engine, chosen.precision) == ("ctranslate2", "float32")
    fast = chosen.build()
    assert isinstance(fast, CTranslate2Engine)
    return FairseqEngine([str(sure_teacher)], task), fast


def test_torch_keeps_its_threads(
    sure_teacher: Path, task: TranslationTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Converting and loading must not leave the decode, and all that follows it, with a single thread."""
    monkeypatch.setenv("FAIRSEQ_KD_CACHE", str(tmp_path))  # so that it converts
    torch.set_num_threads(2)
    try:
        engine = choose_engine("ctranslate2", "float32", [str(sure_teacher)], task).build()
        assert torch.get_num_threads() == 2
        assert isinstance(engine, CTranslate2Engine) and engine.translator.num_translators == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize(
    "options",
    [
        DecodingOptions(beam=5, nbest=3, max_len_a=1.2, max_len_b=10),
        DecodingOptions(beam=1),
        DecodingOptions(beam=5, max_len_b=4),
        DecodingOptions(beam=1, max_len_b=4),
        DecodingOptions(beam=4, max_len_a=0.4, max_len_b=1, max_tokens=40),
        DecodingOptions(beam=2, nbest=2, max_len_b=1),
    ],
)
def test_hypotheses_and_scores_are_fairseqs(
    options: DecodingOptions, engines: tuple[FairseqEngine, CTranslate2Engine], sources: list[torch.Tensor]
) -> None:
    """Where more hypotheses end in one step than the beam has room for, CTranslate2 keeps the best of all, fairseq the
    first: then the lower ranks of a list may differ, and CTranslate2's are the better ones."""
    expected, found = (engine.translate(sources, options) for engine in engines)
    assert [nbest[0].tokens for nbest in found] == [nbest[0].tokens for nbest in expected]
    differing = 0
    for own, theirs in zip(found, expected, strict=True):
        scores = [{h.tokens: h.score for h in nbest} for nbest in (own, theirs)]
        common = [[one[tokens] for tokens in scores[0] if tokens in scores[1]] for one in scores]
        assert common[0] == pytest.approx(common[1], abs=1e-3)
        if [h.tokens for h in own] != [h.tokens for h in theirs]:
            differing += 1
            # What CTranslate2 alone has is better than all that fairseq alone has.
            alone = [[one[tokens] for tokens in one if tokens not in other] for one, other in (scores, scores[::-1])]
            assert min(alone[0]) > max(alone[1])
    assert differing <= (2 if options.nbest > 1 else 0)
    assert found[3] == found[5] == [NOT_TRANSLATED] * options.nbest
    assert len({nbest[0].tokens for nbest in found}) > 3


@pytest.mark.parametrize("beam", [1, 5])
def test_a_model_that_never_ends_is_cut_where_fairseq_cuts_it(
    beam: int, sure_teacher: Path, task: TranslationTask, sources: list[torch.Tensor], tmp_path: Path
) -> None:
    """A ``</s>`` that points away from all states is never chosen."""

    def never_end(state: dict[str, Any]) -> None:
        state["model"]["decoder.output_projection.weight"][task.target_dictionary.eos()] *= -3

    path = str(edited(sure_teacher, tmp_path, never_end))
    options = DecodingOptions(beam=beam, nbest=beam, max_len_a=1.5, max_len_b=2, max_tokens=50)
    expected = FairseqEngine([path], task).translate(sources, options)
    found = choose_engine("ctranslate2", "float32", [path], task).build().translate(sources, options)
    assert [[h.tokens for h in nbest] for nbest in found] == [[h.tokens for h in nbest] for nbest in expected]
    assert max(len(nbest[0].tokens.split()) for nbest in found) > 10


def test_greedy_scores_of_sentences_whose_likeliest_translation_is_empty(
    sure_teacher: Path, task: TranslationTask, sources: list[torch.Tensor], tmp_path: Path
) -> None:
    """fairseq forbids it and leaves its probability unused; CTranslate2 would spread it over the other tokens."""

    def end_early(state: dict[str, Any]) -> None:
        state["model"]["decoder.output_projection.weight"][task.target_dictionary.eos()] *= 4

    path, options = str(edited(sure_teacher, tmp_path, end_early)), DecodingOptions(beam=1)
    engines = FairseqEngine([path], task), choose_engine("ctranslate2", "float32", [path], task).build()
    expected, found = ([nbest[0] for nbest in engine.translate(sources, options)] for engine in engines)
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-3)


def test_a_model_that_needs_a_gpu_is_not_converted(
    tiny_teacher: Path, task: TranslationTask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Layers of --quant-noise-scalar compute on a GPU alone, and the conversion compares on the CPU."""
    path = str(edited(tiny_teacher, tmp_path, lambda state: vars(state["cfg"]["model"]).update(quant_noise_scalar=0.5)))
    assert choose_engine("auto", "float32", [path], task).engine == "fairseq"
    assert "since ctranslate2 cannot: the model does not compute on the CPU (" in caplog.text
    with pytest.raises(UserError, match="--engine ctranslate2: the model does not compute on the CPU"):
        choose_engine("ctranslate2", "float32", [path], task)


def test_both_engines_take_the_same_sources_and_count_the_same_parameters(
    engines: tuple[FairseqEngine, CTranslate2Engine], sources: list[torch.Tensor]
) -> None:
    assert engines[0].parameters == engines[1].parameters
    takes = [[engine.takes(source) for source in sources] for engine in engines]
    assert takes[0] == takes[1] and takes[0].count(False) == 2


def test_special_symbols_within_a_source_are_fairseqs(
    engines: tuple[FairseqEngine, CTranslate2Engine], task: TranslationTask, sources: list[torch.Tensor]
) -> None:
    """A data-bin can hold them. fairseq's model passes over ``<pad>``; CTranslate2 would read an unknown word."""
    dictionary = task.source_dictionary
    given = []
    for symbol in (dictionary.pad(), dictionary.eos(), dictionary.bos()):
        special = torch.tensor([symbol])
        given += [torch.cat([row[:2], special, row[2:]]) for row in sources[10:16]]
        given += [torch.cat([row[:-1], special, row[-1:]]) for row in sources[10:16]]
    given.append(torch.cat([torch.tensor([dictionary.pad()] * 2), sources[16]]))
    options = DecodingOptions(beam=3, max_len_a=1.2, max_len_b=4)
    expected, found = (engine.translate(given, options) for engine in engines)
    assert [one.tokens for (one,) in found] == [one.tokens for (one,) in expected]
    assert [one.score for (one,) in found] == pytest.approx([one.score for (one,) in expected], abs=1e-3)


@pytest.mark.parametrize("beginning", ["</s>", "<pad>"])
def test_a_source_that_ctranslate2_takes_for_an_empty_one(
    beginning: str, engines: tuple[FairseqEngine, CTranslate2Engine], task: TranslationTask
) -> None:
    dictionary = task.source_dictionary
    given = [torch.tensor([7, dictionary.eos()]), torch.tensor([dictionary.index(beginning), dictionary.eos()])]
    assert engines[0].translate(given, DecodingOptions(max_len_b=4))[1][0].tokens
    with pytest.raises(UserError, match=r"ctranslate2 takes a source that begins .* --engine fairseq"):
        engines[1].translate(given, DecodingOptions(max_len_b=4))


def test_threads_and_the_order_of_the_sources_change_nothing(
    sure_teacher: Path,
    task: TranslationTask,
    sources: list[torch.Tensor],
    engines: tuple[FairseqEngine, CTranslate2Engine],
) -> None:
    options = DecodingOptions(nbest=2, max_len_a=1.2, max_len_b=10)
    once = engines[1].translate(sources, options)
    torch.set_num_threads(3)
    several = choose_engine("ctranslate2", "float32", [str(sure_teacher)], task).build()
    torch.set_num_threads(1)
    assert isinstance(several, CTranslate2Engine) and several.translator.num_translators == 3
    assert several.translate(sources, options) == once
    backwards = engines[1].translate(sources[::-1], options)[::-1]
    assert [[h.tokens for h in nbest] for nbest in backwards] == [[h.tokens for h in nbest] for nbest in once]


def test_unknown_words_are_written_as_fairseq_writes_them(
    engines: tuple[FairseqEngine, CTranslate2Engine], task: TranslationTask
) -> None:
    dictionary = task.target_dictionary
    (hypothesis,) = engines[1]._read(0, {(dictionary.unk_word, dictionary[5], dictionary.bos_word): -1.0}, 1)
    assert hypothesis.tokens == dictionary.string(torch.tensor([dictionary.unk(), 5, dictionary.bos()]))


def test_a_model_of_nan_is_told(
    tiny_teacher: Path, tiny_corpus: Path, task: TranslationTask, sources: list[torch.Tensor], tmp_path: Path
) -> None:
    path = edited(tiny_teacher, tmp_path, lambda state: state["model"]["decoder.embed_tokens.weight"].fill_(torch.nan))
    engine = choose_engine("ctranslate2", "float32", [str(path)], task).build()
    with pytest.raises(UserError, match="NaN or infinite scores, check its weights"):
        engine.translate(sources, DecodingOptions(max_len_b=5))


@pytest.mark.parametrize("architecture", ["lstm", "fconv", "lightconv"])
def test_other_architectures_are_fairseqs(
    architecture: str, tiny_corpus: Path, task: TranslationTask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = train_model(tiny_corpus, tmp_path, "--max-update", "1", architecture=architecture)
    reason = f"Model '{architecture}' used by architecture '{architecture}' is not supported"
    chosen = choose_engine("auto", "float32", [str(model)], task)
    assert chosen.engine == "fairseq"
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith("decoding with fairseq, since ctranslate2 cannot: ") and reason in line and "\n" not in line
    with pytest.raises(UserError, match=f"--engine ctranslate2: {reason}"):
        choose_engine("ctranslate2", "float32", [str(model)], task)
    with pytest.raises(UserError, match=f"--precision int8: needs ctranslate2, but {reason}"):
        choose_engine("auto", "int8", [str(model)], task)


def test_an_option_that_the_converter_passes_over_is_noticed(
    tiny_corpus: Path, tiny_teacher: Path, task: TranslationTask, tmp_path: Path
) -> None:
    def scale(state: dict[str, Any]) -> None:
        state["cfg"]["model"].scale_heads = True
        state["model"]["decoder.layers.0.c_attn"] = torch.tensor([0.1, 3.0])

    path = str(edited(tiny_teacher, tmp_path, scale))
    with pytest.raises(UserError, match="--engine ctranslate2: the converted model gives other probabilities"):
        choose_engine("ctranslate2", "float32", [path], task)


@pytest.mark.parametrize("text", ["s0 1 #fairseq:overwrite", "<blank> 1"])
def test_a_text_that_names_two_symbols_is_fairseqs(text: str, tiny_corpus: Path, tmp_path: Path) -> None:
    """CTranslate2 knows a symbol by its text, and pads with `<blank>`."""
    data = shutil.copytree(tiny_corpus, tmp_path / "data")
    lines = (data / "dict.src.txt").read_text().splitlines()
    assert "s0" in {line.split()[0] for line in lines[:-1]}
    (data / "dict.src.txt").write_text("\n".join([*lines[:-1], text]) + "\n")
    model = train_model(data, tmp_path / "model", "--max-update", "1")
    task = open_databin(data, "test")
    assert choose_engine("auto", "float32", [str(model)], task).engine == "fairseq"
    with pytest.raises(UserError, match=f"two symbols of a dictionary have the text '{text.split()[0]}'"):
        choose_engine("ctranslate2", "float32", [str(model)], task)


def test_a_model_of_few_positions_is_converted(tiny_corpus: Path, task: TranslationTask, tmp_path: Path) -> None:
    few = ["--max-source-positions", "8", "--max-target-positions", "8", "--skip-invalid-size-inputs-valid-test"]
    learned = ["--encoder-learned-pos", "--decoder-learned-pos"]
    model = train_model(tiny_corpus, tmp_path, "--max-update", "1", "--disable-validation", *few, *learned)
    assert choose_engine("ctranslate2", "float32", [str(model)], task).engine == "ctranslate2"


def test_a_model_that_aligns_words_with_fewer_layers_than_the_usual(tiny_corpus: Path, tmp_path: Path) -> None:
    """transformer_align names the fifth layer for its alignments; CTranslate2 aborts where there is none."""
    model = train_model(tiny_corpus, tmp_path / "model", "--max-update", "20", "--arch", "transformer_align")
    found = []
    for engine in ("ctranslate2", "fairseq"):
        words = ["--model", model, "--data", tiny_corpus, "--subset", "test", "--beam", "1", "--max-len-b", "10"]
        run_command("fairseq-kd", "decode", *words, "--engine", engine, "--output", tmp_path / engine)
        found.append((tmp_path / engine / "test.tgt").read_text())
    assert found[0] == found[1]


def test_ensembles_are_fairseqs(tiny_teacher: Path, task: TranslationTask, caplog: pytest.LogCaptureFixture) -> None:
    models = [str(tiny_teacher), str(tiny_teacher.with_name("checkpoint_best.pt"))]
    assert choose_engine("auto", "float32", models, task).engine == "fairseq"
    assert "since ctranslate2 cannot: 2 checkpoints are an ensemble" in caplog.text
    with pytest.raises(UserError, match="--engine ctranslate2: 2 checkpoints are an ensemble"):
        choose_engine("ctranslate2", "float32", models, task)


def test_sizes_as_fairseq_hydra_train_writes_them(
    sure_teacher: Path, task: TranslationTask, sources: list[torch.Tensor], tmp_path: Path
) -> None:
    """It nests what the command line calls --encoder-layers."""

    def nest(state: dict[str, Any]) -> None:
        flat = vars(state["cfg"]["model"])
        sides = {
            side: {key.removeprefix(f"{side}_"): flat[key] for key in list(flat) if key.startswith(f"{side}_")}
            for side in ("encoder", "decoder")
        }
        rest = {key: value for key, value in flat.items() if not key.startswith(("encoder_", "decoder_"))}
        state["cfg"]["model"] = OmegaConf.create({**rest, **sides, "_name": "transformer"})

    path = str(edited(sure_teacher, tmp_path, nest))
    options = DecodingOptions(max_len_b=10)
    found, expected = (
        choose_engine("ctranslate2", "float32", [model], task).build().translate(sources, options)
        for model in (path, str(sure_teacher))
    )
    assert found == expected


def test_precisions(tiny_teacher: Path, task: TranslationTask, sources: list[torch.Tensor]) -> None:
    with pytest.raises(UserError, match="--precision int8: --engine fairseq decodes in float32"):
        choose_engine("fairseq", "int8", [str(tiny_teacher)], task)
    with pytest.raises(UserError, match=r"--precision none: not supported by .*choose from .*float32"):
        choose_engine("auto", "none", [str(tiny_teacher)], task)
    for precision in ctranslate2.get_supported_compute_types("cpu") if not torch.cuda.is_available() else ():
        chosen = choose_engine("auto", precision, [str(tiny_teacher)], task)
        assert (chosen.engine, chosen.precision) == ("ctranslate2", precision)
        assert len(chosen.build().translate(sources, DecodingOptions(max_len_b=10))) == len(sources)


def test_a_conversion_is_kept_for_the_checkpoint_and_the_dictionaries(
    tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRSEQ_KD_CACHE", str(tmp_path / "cache"))
    other = tmp_path / "other-data-bin"
    shutil.copytree(tiny_corpus, other)
    lines = (other / "dict.tgt.txt").read_text().splitlines(keepends=True)
    (other / "dict.tgt.txt").write_text("".join([lines[1], lines[0], *lines[2:]]))
    folders = [kept_conversion(str(tiny_teacher), open_databin(data, "valid")) for data in (tiny_corpus, other)]
    made = (folders[0] / "model.bin").stat().st_mtime_ns
    assert kept_conversion(str(tiny_teacher), open_databin(tiny_corpus, "valid")) == folders[0] != folders[1]
    assert (folders[0] / "model.bin").stat().st_mtime_ns == made
    assert sorted(folder.name for folder in (tmp_path / "cache" / "ctranslate2").iterdir()) == sorted(
        folder.name for folder in folders
    )
    monkeypatch.setenv("FAIRSEQ_KD_CACHE", str(tiny_corpus / "dict.src.txt"))
    with pytest.raises(UserError, match=r"dict\.src\.txt: cannot be written .*set FAIRSEQ_KD_CACHE"):
        kept_conversion(str(tiny_teacher), open_databin(tiny_corpus, "valid"))


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("words", [["decode"], ["evaluate"], ["export", "--to", "ctranslate2"]])
def test_a_checkpoint_that_would_run_code_is_refused(
    words: list[str], tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    path = edited(tiny_teacher, tmp_path, lambda state: state.update(extra_state=Payload(tmp_path / "ran")))
    with pytest.raises(UserError, match="refused and not run"):
        cli.main([*words, "--model", str(path), "--data", str(tiny_corpus), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()


def test_evaluate_measures_both_engines(sure_teacher: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.json"
    words = ["evaluate", "--model", str(sure_teacher), "--data", str(tiny_corpus), "--output", str(output)]
    cli.main([*words, "--beam", "2", "--max-len-b", "12", "--compare-fairseq"])
    made = read_json(output)
    assert (made["engine"], made["precision"]) == ("ctranslate2", "float32")
    assert made["beams"]["2"]["fairseq_sentences_per_second"] > 0
    cli.main([*words, "--beam", "2", "--max-len-b", "12", "--engine", "fairseq", "--compare-fairseq"])
    own = read_json(output)
    assert own["engine"] == "fairseq" and "fairseq_sentences_per_second" not in own["beams"]["2"]
    assert own["beams"]["2"]["hypotheses"] == made["beams"]["2"]["hypotheses"]
    assert own["parameters"] == made["parameters"]
