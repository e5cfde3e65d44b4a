"""`fairseq-kd diagnose`: its quantities against the other verbs' and a student's own size; what it refuses."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fairseq_kd
from fairseq_kd import cli
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.diagnose import diagnose as diagnose_task
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import build_models
from fairseq_kd.networks.parameters import count_parameters
from fairseq_kd.storage.structured import read_json
from tests.support.models import ARCHITECTURES

pytestmark = pytest.mark.usefixtures("one_thread")
SHARED = ("--post-process", "none", "--max-len-b", "12")
STUDENT = f"{ARCHITECTURES['transformer']} --encoder-layers 2 --share-all-embeddings --lr 0.01  # as in train.sh"


@pytest.fixture
def diagnose(tiny_corpus: Path, sure_teacher: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run the verb; its JSON."""

    def run(*options: object, data: Path = tiny_corpus, teacher: object = sure_teacher) -> dict[str, Any]:
        words = ["--teacher", teacher, "--data", data, *SHARED, "--output", tmp_path / "made" / "out.json", *options]
        cli.main(["diagnose", *map(str, words)])
        return read_json(tmp_path / "made" / "out.json")

    return run


def test_the_quantities_are_those_of_the_other_verbs(
    diagnose: Callable[..., dict[str, Any]],
    tiny_corpus: Path,
    sure_teacher: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(STUDENT))
    monkeypatch.setattr(fairseq_kd, "__file__", str(tmp_path / "fairseq_kd" / "__init__.py"))  # a clone without results
    found = diagnose("--student", "-")
    text = capsys.readouterr().out
    assert "**not known** (no study)" in text and "f-DISTILL: not known" in text
    assert (found["advice"]["line"], found["advice"]["certainty"]) == (None, "not known")

    data = ["--data", str(tiny_corpus), "--output", str(tmp_path / "out.json")]
    cli.main(["evaluate", "--model", str(sure_teacher), *data, *SHARED])
    scores = read_json(tmp_path / "out.json")
    cli.main(["risks", "--teacher", str(sure_teacher), "--model", str(sure_teacher), *data])
    risks = read_json(tmp_path / "out.json")
    quantities, measured = found["quantities"], found["measured"]
    assert quantities["teacher_dist"] == pytest.approx(risks["risks"]["teacher_dist"]["mean"], abs=1e-12)
    assert quantities["token_entropy"] == scores["teacher_forced"]["entropy"] > 0
    assert quantities["gap"] == scores["teacher_forced"]["accuracy"] - scores["beams"]["1"]["bleu"]["score"]
    assert (measured["mode_mass_greedy"], quantities["mode_mass"]) == tuple(
        scores["beams"][beam]["mode_mass"] for beam in ("1", "5")
    )
    assert measured["bleu_beam"] == scores["beams"]["5"]["bleu"]["score"]
    lengths = sorted(scores["source_lengths"])
    assert quantities["source_length"] == pytest.approx(sum(lengths) / 40)
    assert measured["source_length_q1"] <= measured["source_length_median"] <= measured["source_length_q3"]
    assert lengths[9] <= measured["source_length_q1"] <= lengths[10]
    assert found["signature"]["teacher"] == scores["models"][0]["sha256"]
    assert f"| teacher's mean token entropy (nats) | {quantities['token_entropy']:.3f} |" in text


def test_a_wished_speed_is_looked_up_in_tables(
    diagnose: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    table = Path(fairseq_kd.__file__).parents[1] / "results" / "multi30k_en_de" / "table.json"
    found = diagnose("--study", "--speedup", 9, "--one-by-one", "--shapes", table)
    text = capsys.readouterr().out
    assert (found["shape"]["speedup"], found["shape"]["batched"], found["shape"]["shape"]) == (9.0, False, None)
    assert "## A student that is 9 times as fast one by one" in text and "Recommendation" not in text
    assert "**not known** (the teacher has 0.0" in text and "million parameters here, 4.98 there)." in text
    for option in (("--shapes", table), ("--one-by-one",)):
        with pytest.raises(UserError, match=f"{option[0]}: needs --speedup"):
            diagnose(*option)


def test_the_students_size_is_that_of_the_trained_one(
    diagnose: Callable[..., dict[str, Any]],
    train: Callable[..., Path],
    tiny_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--share-all-embeddings", "--encoder-layers", "2", "--max-update", "1", "--disable-validation")
    trained = train(tiny_corpus, tmp_path / "student", *options)
    (tmp_path / "student.txt").write_text(STUDENT)
    own = count_parameters(build_models([trained], open_databin(tiny_corpus, "test"))[0])
    for student in (trained, tmp_path / "student.txt"):
        found = diagnose("--student", student, "--study")
        assert found["measured"]["student_parameters"] == own
        assert found["quantities"]["size_ratio"] == own / found["measured"]["parameters"]
        # --study without a file: measured, and nothing said of what to do.
        assert "advice" not in found and "Recommendation" not in capsys.readouterr().out


def test_advice_from_a_study(
    diagnose: Callable[..., dict[str, Any]],
    sure_teacher: Path,
    tiny_teacher: Path,
    tiny_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two students of the teacher, the one much better, at two places of which the task lies at the first."""
    words = []
    (tmp_path / "student.txt").write_text(STUDENT)
    first = diagnose("--student", tmp_path / "student.txt", "--study")
    for at, ratio in ((1, first["quantities"]["size_ratio"]), (2, 10.0)):
        first["quantities"]["size_ratio"] = ratio
        (tmp_path / f"{at}.json").write_text(json.dumps(first))
        for name, model in (("Teacher", sure_teacher), ("Seq-KD", sure_teacher), ("Word-KD", tiny_teacher)):
            output = tmp_path / f"{name}.json"
            if not output.exists():
                options = ["--data", str(tiny_corpus), "--name", name, "--beam", "1", "--output", str(output), *SHARED]
                cli.main(["evaluate", "--model", str(model), *options])
            words.append(f"{at}={output}")
    more = ["--diagnosis", f"1={tmp_path}/1.json", f"2={tmp_path}/2.json", "--teacher", "Teacher", "--axis", "size"]
    cli.main(["study", *words, *more, "--output", str(tmp_path / "study")])
    capsys.readouterr()

    study = tmp_path / "study" / "study.json"
    found, text = diagnose("--student", tmp_path / "student.txt", "--study", study), capsys.readouterr().out
    assert (found["advice"]["line"], found["advice"]["certainty"]) == ("Seq-KD", "clear")
    assert found["signature"]["studies"] == [found["advice"]["studies"][0]["sha256"]]
    assert (
        "**Seq-KD: clear**" in text and "| size 1 | BLEU, greedy | Seq-KD, " in text and "over Word-KD | yes |" in text
    )
    without = diagnose("--study", study)
    assert without["advice"]["certainty"] == "not known" and "give --student" in capsys.readouterr().out


def test_the_function_returns_what_it_writes(tiny_corpus: Path, sure_teacher: Path, tmp_path: Path) -> None:
    settings = {"post_process": "none", "lengths": DecodingOptions(max_len_b=12)}
    made = diagnose_task(sure_teacher, tiny_corpus, studies=[], output=tmp_path / "out.json", **settings)
    assert made == read_json(tmp_path / "out.json")
    assert made["advice"]["reason"] == "no study" and made["quantities"]["size_ratio"] is None


MISTAKES = {
    "no student": ("", ("--student", "none.txt"), r"--student none\.txt: no such file"),
    "unknown option": (
        "--arch transformer --no-such 1",
        (),
        r"--student .*student\.txt: unrecognized arguments: --no-such",
    ),
    "unknown architecture": ("--arch nonsense", (), r"--student .*student\.txt: argument --arch"),
    "no architecture": ("--encoder-layers 1", (), r"student\.txt: names no --arch"),
    "bad value": ("--arch transformer --encoder-embed-dim 15", (), r"student\.txt: embed_dim must be divisible"),
    "quote": ("--arch 'transformer", (), r"student\.txt: No closing quotation"),
    "language model": ("--arch transformer_lm", (), r"student\.txt: "),
    "ensemble": ("", ("--teacher", "a.pt:b.pt"), r"--teacher 'a\.pt:b\.pt': give one checkpoint"),
    "no teacher": ("", ("--teacher", "none.pt"), r"teacher none\.pt: no such file"),
    "no data": ("", ("--data", "none"), "data-bin none: no such folder"),
    "subset": ("", ("--subset", "nope"), "no subset 'nope'"),
    "seed": ("", ("--seed", -1), "--seed -1: give a number"),
    "length": ("", ("--max-len-b", 0), "--max-len-b 0: give 1 or more"),
    "reference": ("", ("--reference", "none.txt"), r"reference none\.txt"),
    "study": ("", ("--study", "none.json"), r"none\.json: cannot be read"),
    "folder": ("", ("--output", "."), r"--output \.: is a folder"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(diagnose: Callable[..., dict[str, Any]], tmp_path: Path, mistake: str) -> None:
    student, options, message = MISTAKES[mistake]
    if student:
        (tmp_path / "student.txt").write_text(student)
        options = (*options, "--student", str(tmp_path / "student.txt"))
    with pytest.raises(UserError, match=message) as caught:
        diagnose(*options)
    assert "\n" not in str(caught.value) and not (tmp_path / "made" / "out.json").exists()
