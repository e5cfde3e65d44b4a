"""Mode mass against the model's own forward, and what `fairseq-kd evaluate --cost` measures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.tasks.translation import TranslationTask

from fairseq_kd import cli
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.costs import model_cost
from fairseq_kd.networks.checkpoints import build_models
from fairseq_kd.report.result_files import read_evaluated
from fairseq_kd.storage.files import file_hash
from fairseq_kd.storage.structured import read_json
from fairseq_kd.timing import interleaved, process_memory
from tests.support.models import edited
from tests.support.training import train_model

pytestmark = pytest.mark.usefixtures("one_thread")
Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture
def evaluate(tiny_corpus: Path, tmp_path: Path) -> Evaluate:
    """Run `fairseq-kd evaluate` on a model; the JSON it writes."""

    def run(model: Path, *options: object) -> dict[str, Any]:
        output = tmp_path / "scores.json"
        words = ["evaluate", "--model", model, "--data", tiny_corpus, "--output", output, "--post-process", "none"]
        cli.main([*map(str, words), "--max-len-a", "1.2", "--max-len-b", "5", *map(str, options)])
        return read_json(output)

    return run


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same measurements without a process for each, which takes seconds to start."""
    monkeypatch.setattr(interleaved, "measure", lambda call: call.function(**call.arguments))


def own_probability(model: Any, task: TranslationTask, source: torch.Tensor, text: str) -> float:
    """p(y|x) of a translation with its ``</s>``: one forward for each of its tokens, multiplied in float64."""
    dictionary, product = task.target_dictionary, 1.0
    prefix = [dictionary.eos()]
    for symbol in [*map(dictionary.index, text.split()), dictionary.eos()]:
        logits, _ = model(source[None], torch.tensor([len(source)]), torch.tensor([prefix]))
        product *= float(logits[0, -1].double().softmax(-1)[symbol])
        prefix.append(symbol)
    return product


@pytest.mark.parametrize("engine", ["fairseq", "ctranslate2"])
def test_mode_mass_is_the_mean_probability_of_a_models_own_translations(
    engine: str, evaluate: Evaluate, sure_teacher: Path, tiny_corpus: Path
) -> None:
    made = evaluate(sure_teacher, "--beam", 1, 5, "--engine", engine)
    task = open_databin(tiny_corpus, "test")
    (model,) = build_models([sure_teacher], task)
    sources = [task.dataset("test").src[row] for row in range(40)]
    for beam in ("1", "5"):
        hypotheses = made["beams"][beam]["hypotheses"]
        with torch.no_grad():
            own = [own_probability(model, task, *pair) for pair in zip(sources, hypotheses, strict=True)]
        assert made["beams"][beam]["mode_mass"] == pytest.approx(sum(own) / 40, rel=1e-3)
        assert 0.01 < sum(own) / 40 < 0.99 and max(own) > 2 * min(own)


def test_a_peaked_model_has_more_mode_mass_than_a_flat_one(
    evaluate: Evaluate, sure_teacher: Path, tmp_path: Path
) -> None:
    masses = []
    for scale in (0.5, 1, 30):
        folder = tmp_path / str(scale)
        folder.mkdir()

        def sharpen(state: dict[str, Any], scale: float = scale) -> None:
            state["model"]["decoder.output_projection.weight"] *= scale

        path = edited(sure_teacher, folder, sharpen)
        masses.append(evaluate(path, "--beam", 1)["beams"]["1"]["mode_mass"])
    assert masses[0] < 0.5 * masses[1] and masses[1] < 0.9 * masses[2] and 0.9 < masses[2] <= 1 + 1e-6


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_costs_are_measured_beside_the_teacher(evaluate: Evaluate, sure_teacher: Path, tiny_teacher: Path) -> None:
    made = evaluate(sure_teacher, "--beam", 1, 2, "--cost", 1, "--cost-rows", 9, "--teacher", tiny_teacher)["cost"]
    engines = [("fairseq", "float32"), ("ctranslate2", "float32"), ("ctranslate2", "int8")]
    settings = [(*engine, batched) for engine in engines for batched in (False, True)]
    assert made["rounds"] == 1 and made["sentences"] == 9
    names = ("engine", "precision", "batched", "beam")
    lines = [[tuple(line[name] for name in names) for line in of["measured"]] for of in (made, made["teacher"])]
    assert lines == [[(*one, beam) for one in settings for beam in (1, 2)], [(*one, 2) for one in settings]]
    assert made["teacher"]["beam"] == 2 and made["teacher"]["models"][0]["path"] == str(tiny_teacher)
    teacher = {line["engine"] + line["precision"] + str(line["batched"]): line for line in made["teacher"]["measured"]}
    for line in made["measured"]:
        beside = teacher[line["engine"] + line["precision"] + str(line["batched"])]
        assert line["times_teacher"] == beside["seconds"] / line["seconds"]
        assert line["sentences_per_second"] == 9 / line["seconds"]
        assert line["target_tokens_per_second"] > 4 * line["sentences_per_second"]


@pytest.mark.usefixtures("in_this_process")
def test_sentences_that_the_student_does_not_take_make_it_no_faster(
    evaluate: Evaluate, train: Callable[..., Path], sure_teacher: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    short = ("--max-source-positions", "7", "--max-update", "1", "--disable-validation")
    words = ("--beam", 1, "--engine", "fairseq", "--cost", 1, "--cost-rows", 12, "--teacher", sure_teacher)
    made = evaluate(train(tiny_corpus, tmp_path / "short", *short), *words)["cost"]
    for line, beside in zip(made["measured"], made["teacher"]["measured"], strict=True):
        assert 0 < line["sentences"] < 12 == beside["sentences"]
        each = [one["seconds"] / one["sentences"] for one in (beside, line)]
        assert line["times_teacher"] == pytest.approx(each[0] / each[1])


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_costs_of_a_named_engine_alone(evaluate: Evaluate, sure_teacher: Path, tiny_teacher: Path) -> None:
    words = ("--beam", 1, "--engine", "ctranslate2", "--cost", 1, "--cost-rows", 2, "--teacher", tiny_teacher)
    made = evaluate(sure_teacher, *words)["cost"]
    for of in (made, made["teacher"]):
        measured = [(line["engine"], line["precision"]) for line in of["measured"]]
        assert measured == [("ctranslate2", precision) for precision in ("float32", "int8") for _ in range(2)]


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_shortlist_is_measured_beside_translating_without_it(
    evaluate: Evaluate, sure_teacher: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    few = tmp_path / "vmap.txt"
    few.write_text("\tt0 t1 t2\n" + "".join(f"s{number}\tt{number}\n" for number in range(3, 12)))
    plain = evaluate(sure_teacher, "--beam", 1, 2)
    words = ("--beam", 1, 2, "--cost", 1, "--cost-rows", 3, "--teacher", tiny_teacher)
    made = evaluate(sure_teacher, "--shortlist", few, *words)
    assert made["shortlist"]["path"] == str(few) and made["shortlist"]["sha256"] == file_hash(few)
    for beam, effect in made["shortlist"]["beams"].items():
        own, before = made["beams"][beam], plain["beams"][beam]
        assert effect["bleu_without"] == before["bleu"]["score"]
        assert effect["bleu_difference"] == own["bleu"]["score"] - before["bleu"]["score"] < 0
        changed = [one != other for one, other in zip(own["hypotheses"], before["hypotheses"], strict=True)]
        assert effect["changed"] == sum(changed) / 40 > 0 and effect["times_as_fast"] > 0
        assert own["mode_mass"] is None and before["mode_mass"] > 0
    cost = made["cost"]
    settings = [
        (precision, batched, beam) for precision in ("float32", "int8") for batched in (0, 1) for beam in (1, 2)
    ]
    for lines in (cost["measured"], cost["without_shortlist"]):
        assert [(line["precision"], line["batched"], line["beam"]) for line in lines] == settings
    for line, without in zip(cost["measured"], cost["without_shortlist"], strict=True):
        assert line["engine"] == "ctranslate2" and line["times_teacher"] > 0 and without["times_teacher"] > 0
        assert line["times_without_shortlist"] == without["seconds"] / line["seconds"]
    read_evaluated(tmp_path / "scores.json")


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_teacher_that_one_engine_takes_gives_ratios_with_that_engine(
    evaluate: Evaluate, sure_teacher: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    teacher = train_model(tiny_corpus, tmp_path, "--max-update", "1", architecture="lstm")
    made = evaluate(sure_teacher, "--beam", 1, "--cost", 1, "--cost-rows", 2, "--teacher", teacher)["cost"]
    assert {line["engine"] for line in made["teacher"]["measured"]} == {"fairseq"}
    assert {line["engine"]: "times_teacher" in line for line in made["measured"]} == {
        "fairseq": True,
        "ctranslate2": False,
    }


@pytest.mark.slow
def test_a_measurement_has_a_process_to_itself(sure_teacher: Path, tiny_corpus: Path) -> None:
    """What this process holds, more than that one could, is not counted."""
    task = open_databin(tiny_corpus, "test")
    ballast = bytearray(b"x") * 2**30
    search = model_cost.DecodingOptions(beam=2, max_len_b=5)
    shared = {"data": str(tiny_corpus), "subset": "test", "rows": 3, "languages": ["src", "tgt"]}
    call = list(model_cost._calls([model_cost._Asked("model", [str(sure_teacher)], search)], shared, task))[-1]
    figures = interleaved.measure(call)
    assert 0 < figures["memory"] < 500 < len(ballast) / 2**20 and figures["seconds"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a GPU the memory is counted otherwise")
def test_the_peak_is_counted_from_where_it_is_started() -> None:
    large = bytearray(b"x") * 2**28
    del large
    before = process_memory.held()
    process_memory.start_peak()
    assert process_memory.peak() - before < 50
    large = bytearray(b"x") * 2**27
    del large
    assert 120 < process_memory.peak() - before < 180


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cost", "0"], "--cost 0: give 1 or more"),
        (["--cost", "--cost-rows", "0"], "--cost-rows 0: give 1 or more"),
        (["--cost-rows", "5"], "--cost-rows: needs --cost"),
        (["--teacher", "none.pt"], "--teacher: needs --cost"),
        (["--cost", "--teacher", ":"], "--teacher: names no file"),
        (["--cost", "--teacher", "none.pt"], "none.pt: no such file"),
    ],
)
def test_options_that_go_wrong(evaluate: Evaluate, sure_teacher: Path, options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(sure_teacher, *options)
