"""The recommendation, from studies that `fairseq-kd study` made of hand-made results."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fairseq_kd import cli
from fairseq_kd.diagnose.advice import advise, level
from fairseq_kd.diagnose.quantities import QUANTITIES
from fairseq_kd.diagnose.study_files import read_studies
from fairseq_kd.errors import UserError
from fairseq_kd.study.points import read_methods
from tests.support.results import scored

QUANTITIES_THERE = {"token_entropy": 1.5, "teacher_dist": 0.5, "mode_mass": 0.3, "gap": 20.0, "source_length": 12.0}
# Every so-many-th sentence is wrong. Seq-KD leads clearly at the first two points; at the third two lines are the same.
LINES = {
    0.05: {"Word-KD": 2, "Seq-KD": 30, "Hybrid": 3},
    0.2: {"Word-KD": 3, "Seq-KD": 30, "Hybrid": 2},
    0.8: {"Word-KD": 2, "Seq-KD": 5, "Hybrid": 5},
}
TEACHER = "--teacher-path teacher.pt --criterion"
ROWS = {
    "word_kd": {"name": "Word-KD", "data": "gold", "options": f"{TEACHER} token_kd --kd-alpha 0.5"},
    "seq_kd": {"name": "Seq-KD", "data": "distilled", "options": "--criterion fused_cross_entropy"},
    "hybrid": {"name": "Hybrid", "data": "gold", "options": f"{TEACHER} hybrid_kd --distilled-data distilled/data-bin"},
}


def task(**quantities: float | None) -> dict[str, float | None]:
    """One that lies between the first two points and is like them otherwise."""
    return {"size_ratio": 0.1, **QUANTITIES_THERE, **quantities}


def diagnosis(ratio: float, **changes: Any) -> dict[str, Any]:
    """What `fairseq-kd diagnose` would write, in brief."""
    return {"quantities": task(size_ratio=ratio), "signature": {"teacher": "Teacher1"}, **changes}


def make(folder: Path, diagnoses: dict[float, dict[str, Any]], *options: str) -> Path:
    """The study of `LINES`, its axis the student's width in thousands of the ratio, with these diagnoses."""
    words, told = [], []
    for ratio, lines in LINES.items():
        for name, every in {**lines, "Teacher": 31}.items():
            path = folder / f"{ratio}-{name}.json"
            same = {"teacher_forced": None, "source_lengths": [12] * 30}
            path.write_text(json.dumps(scored(name, every, **same)))
            words.append(f"{1000 * ratio}={path}")
    for ratio, content in diagnoses.items():
        (folder / f"{ratio}.json").write_text(json.dumps(content))
        told.append(f"{1000 * ratio}={folder / str(ratio)}.json")
    (folder / "config.yaml").write_text(yaml.safe_dump({"rows": ROWS}))
    more = ["--config", str(folder / "config.yaml"), *(["--diagnosis", *told] if told else []), *options]
    cli.main(["study", *words, "--axis", "width", "--teacher", "Teacher", "--output", str(folder / "study"), *more])
    return folder / "study" / "study.json"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's file."""
    return make(tmp_path_factory.mktemp("study"), {ratio: diagnosis(ratio) for ratio in LINES})


@pytest.fixture(scope="module")
def study(path: Path) -> dict[str, Any]:
    """The study as the advice reads it."""
    return read_studies([str(path)])[0]


def renamed(study: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The same study with other names of lines."""
    text = re.sub("|".join(names), lambda found: names[found[0]], json.dumps(study))
    return json.loads(text)


SWAPPED = {"Seq-KD": "Word-KD", "Word-KD": "Seq-KD"}


def test_a_clear_winner_at_both_neighbours_is_clear(study: dict[str, Any]) -> None:
    found = advise([study], task())
    assert (found["line"], found["certainty"]) == ("Seq-KD", "clear")
    assert found["method"] == {"level": "sentence-level", **{key: ROWS["seq_kd"][key] for key in ("data", "options")}}
    (told,) = found["studies"]
    assert (told["coordinate"], told["value"], told["range"]) == ("size_ratio", 0.1, [0.05, 0.8])
    asked = [(item["at"], item["measure"]) for item in told["evidence"]]
    assert asked == [(at, measure) for at in (50, 200) for measure in ("BLEU, greedy", "BLEU, beam 5")]
    for item in told["evidence"]:
        assert set(item["leads"]) == {"Word-KD", "Hybrid"} and item["clear"]
        for other, lead in item["leads"].items():
            assert lead["mean"] == pytest.approx(item["scores"]["Seq-KD"] - item["scores"][other])
            assert 0 < lead["interval"][0] < lead["mean"] < lead["interval"][1]
    # The fewest of a line: one seed counts as no spread, however many the others have.
    more = json.loads(json.dumps(study))
    more["points"][0]["seeds"]["Word-KD"] = [1, 2, 3]
    assert told["seeds"] == 1 and advise([more], task())["studies"][0]["seeds"] == 1
    # Its own point, and no other, where the task lies right there.
    (told,) = advise([study], task(size_ratio=0.2))["studies"]
    assert {item["at"] for item in told["evidence"]} == {200}


def test_a_tie_is_leaning(study: dict[str, Any]) -> None:
    found = advise([study], task(size_ratio=0.8))
    assert found["certainty"] == "leaning" and found["line"] in ("Seq-KD", "Hybrid")
    assert "clear in 0 of 2" in found["reason"]
    between = advise([study], task(size_ratio=0.5))
    assert (between["line"], between["certainty"]) == ("Seq-KD", "leaning") and "not over Hybrid" in between["reason"]


@given(st.floats(0, 1e6).filter(lambda ratio: not 0.05 <= ratio <= 0.8))
def test_outside_the_range_is_not_known(study: dict[str, Any], ratio: float) -> None:
    found = advise([study], task(size_ratio=ratio))
    assert (found["line"], found["certainty"], found["method"]) == (None, "not known", None)
    assert found["studies"][0]["evidence"] == [] and "0.050 to 0.800" in found["studies"][0]["reason"]


ALIKE = {
    "token_entropy": (1.01, 2.24),
    "teacher_dist": (0.41, 0.59),
    "mode_mass": (0.21, 0.39),
    "gap": (10.1, 29.9),
    "source_length": (8.1, 17.9),
}


@pytest.mark.parametrize("name", ALIKE)
def test_what_was_studied_elsewhere_says_nothing(study: dict[str, Any], name: str) -> None:
    low, high = ALIKE[name]
    for value in (low, high):
        assert advise([study], task(**{name: value}))["certainty"] == "clear"
    for value in (low * 0.95, high * 1.05):
        found = advise([study], task(**{name: value}))
        assert found["certainty"] == "not known" and QUANTITIES[name].label in found["studies"][0]["reason"]


def test_swapping_names_swaps_the_recommendation(study: dict[str, Any]) -> None:
    for ratio in (0.05, 0.1, 0.5, 0.9):
        one, other = (advise([made], task(size_ratio=ratio)) for made in (study, renamed(study, SWAPPED)))
        assert SWAPPED.get(one["line"], one["line"]) == other["line"] and one["certainty"] == other["certainty"]


def test_studies_together(study: dict[str, Any]) -> None:
    agreeing = advise([study, study], task())
    assert (agreeing["line"], agreeing["certainty"]) == ("Seq-KD", "clear")
    against = advise([study, renamed(study, SWAPPED)], task())
    assert (against["line"], against["certainty"]) == (None, "not known")
    assert "Seq-KD and Word-KD are each clearly best somewhere" in against["reason"]
    # One that cannot speak takes nothing away.
    elsewhere = renamed(study, SWAPPED)
    for point in elsewhere["points"]:
        point["diagnosis"]["source_length"] = 100
    assert advise([study, elsewhere], task())["certainty"] == "clear"
    # Where neither is clear, what loses least on average is it: 0 and 5 points against 1 and 1.
    unclear = json.loads(json.dumps([study, study]))
    for made, scores in zip(unclear, ((10, 5, 9), (5, 10, 9)), strict=True):
        for measure in ("beam 1", "beam 5"):
            axis = made["over_axis"]
            for name, score in zip(("Word-KD", "Seq-KD", "Hybrid"), scores, strict=True):
                axis["scores"][measure][name] = [{"mean": score, "interval": [0, 20]}] * 3
            for pair in axis["comparisons"][measure]:
                pair["differences"] = [{"mean": 0, "interval": [-1, 1]}] * 3
    found = advise(unclear, task())
    assert (found["line"], found["certainty"]) == ("Hybrid", "leaning")
    # Within a study, too: 0, 0, 0 and 5 points against 2, 2, 2 and 0.
    (once, *_) = unclear
    for measure, means in (("beam 1", ((10, 10), (8, 8))), ("beam 5", ((10, 5), (8, 10)))):
        for name, at in zip(("Word-KD", "Hybrid"), means, strict=True):
            once["over_axis"]["scores"][measure][name] = [{"mean": score, "interval": [0, 20]} for score in (*at, 0)]
        once["over_axis"]["scores"][measure]["Seq-KD"] = [{"mean": 0, "interval": [0, 20]}] * 3
    assert advise([once], task())["line"] == "Word-KD"


def test_decoding_procedures_can_differ(study: dict[str, Any]) -> None:
    mixed, swapped = json.loads(json.dumps(study)), renamed(study, SWAPPED)
    for part in ("scores", "comparisons"):
        mixed["over_axis"][part]["beam 5"] = swapped["over_axis"][part]["beam 5"]
    found = advise([mixed], task())
    assert found["certainty"] == "not known"
    verdicts = {measure: (one["line"], one["certainty"]) for measure, one in found["by_decoding"].items()}
    assert verdicts == {"BLEU, greedy": ("Seq-KD", "clear"), "BLEU, beam 5": ("Word-KD", "clear")}


def test_a_line_of_f_distill_is_as_any_other(study: dict[str, Any]) -> None:
    assert advise([study], task())["f_distill"] == []
    made = renamed(study, {"Seq-KD": "JS"})
    made["methods"]["JS"] = {"data": "gold", "options": f"{TEACHER} f_distill --divergence js --distilled-data samples"}
    found = advise([made], task())
    assert (found["line"], found["certainty"], found["f_distill"]) == ("JS", "clear", ["JS"])
    assert found["method"]["level"] == "f-DISTILL, js"


def test_what_was_not_measured_leaves_a_doubt(study: dict[str, Any]) -> None:
    found = advise([study], task(token_entropy=None))
    assert (found["line"], found["certainty"]) == ("Seq-KD", "leaning") and "token entropy" in found["reason"]
    assert "--student" in advise([study], task(size_ratio=None))["studies"][0]["reason"]


def test_where_there_is_nothing_to_go_by(study: dict[str, Any]) -> None:
    assert advise([], task())["reason"] == "no study" and advise([], task())["certainty"] == "not known"

    def reason(change: Callable[[dict[str, Any]], object]) -> str:
        made = json.loads(json.dumps(study))
        change(made)
        found = advise([made], task())
        assert found["certainty"] == "not known"
        return found["studies"][0]["reason"]

    assert "no diagnoses" in reason(lambda made: made["points"][1].update(diagnosis=None))
    assert "no measured quantity" in reason(lambda made: made["points"][1]["diagnosis"].update(size_ratio=0.9))

    def leave_one_line(made: dict[str, Any]) -> None:
        for measure in ("beam 1", "beam 5"):
            for name in ("Word-KD", "Hybrid"):
                del made["over_axis"]["scores"][measure][name]

    assert reason(leave_one_line) == "it has only one line"


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        *((row["data"], row["options"], told) for row, told in zip(
            ROWS.values(), ("token-level", "sentence-level", "hybrid"), strict=True)),
        ("distilled", "--criterion=token_kd --kd-alpha 1", "sentence-level and token-level"),
        ("gold", "--criterion fused_cross_entropy", "no distillation"),
        ("gold", "--criterion f_distill", "f-DISTILL"),
    ],
)  # fmt: skip
def test_what_a_line_learns_from(data: str, options: str, expected: str) -> None:
    assert level({"data": data, "options": options}) == expected


def test_more_parallel_text_is_no_level_of_distillation(tmp_path: Path) -> None:
    """The data of a row can be named after text of the experiment's own."""
    rows = {"all": ("gold+rest", "cross_entropy"), "rest": ("rest", "token_kd"), "both": ("rest+mono", "cross_entropy")}
    (config := tmp_path / "own.yaml").write_text(json.dumps({
        "texts": {"rest": "raw/rest"}, "corpora": {"mono": "--input raw/mono.en"},
        "rows": {key: {"name": key, "data": data, "options": f"--criterion {criterion}"}
                 for key, (data, criterion) in rows.items()},
    }))  # fmt: skip
    methods = read_methods(config, list(rows))
    assert {name: level(one) for name, one in methods.items()} == {
        "all": "no distillation", "rest": "token-level", "both": "sentence-level",
    }  # fmt: skip


EVERY = {ratio: diagnosis(ratio) for ratio in LINES}


@pytest.mark.parametrize(
    ("diagnoses", "message"),
    [
        ({0.05: EVERY[0.05]}, "--diagnosis: point 200, 800 has none"),
        ({**EVERY, 0.4: diagnosis(0.4)}, "there is no point 400"),
        (
            {**EVERY, 0.2: diagnosis(0.2, signature={"teacher": "x"})},
            "of another teacher than the row 'Teacher' of point",
        ),
        ({0.05: {"quantities": {}}}, r"0\.05\.json: no result of fairseq-kd diagnose"),
        ({0.05: diagnosis(float("nan"))}, r"0\.05\.json: no result of fairseq-kd diagnose"),
    ],
)
def test_diagnoses_that_do_not_fit(tmp_path: Path, diagnoses: dict[float, dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(tmp_path, diagnoses)
    assert not (tmp_path / "study").exists()


def test_a_place_has_one_diagnosis(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a second one of point 200"):
        make(tmp_path, EVERY, "--diagnosis", *(f"200={tmp_path}/0.2.json" for _ in range(2)))


def test_a_config_that_is_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"--config .*bad\.yaml: is not YAML"):
        make(tmp_path, EVERY, "--config", str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"over_axis": {}, "points": []}'])
def test_a_file_that_is_no_study(tmp_path: Path, content: str) -> None:
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(UserError, match=r"study\.json: no result of fairseq-kd study"):
        read_studies([str(tmp_path / "study.json")])
    with pytest.raises(UserError, match=r"none\.json: cannot be read"):
        read_studies([str(tmp_path / "none.json")])
