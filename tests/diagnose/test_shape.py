"""`fairseq-kd diagnose --speedup`: the student that is fast enough and loses least."""

from pathlib import Path
from typing import Any

import pytest

from fairseq_kd.diagnose.markdown import _shape
from fairseq_kd.diagnose.options import SpeedWish
from fairseq_kd.diagnose.shape import advise_shape, pareto
from fairseq_kd.diagnose.shape_files import measured, read_tables
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import write_json
from tests.support.commands import ROOT

PARAMETERS = 5e6


def row(name: str, bleu: float, precision: str, speeds: dict[tuple[str, bool], float] | None = None) -> dict[str, Any]:
    beams = {beam: {"bleu": {"mean": bleu + plus}} for beam, plus in (("1", 0.0), ("5", 1.0))}
    made: dict[str, Any] = {"name": name, "parameters": 1e6, "beams": beams, "engines": [["ctranslate2", precision]]}
    if speeds is not None:
        made["cost_of"] = {"teacher_beam": 5}
        made["cost"] = [
            {
                "engine": "ctranslate2",
                "precision": kind,
                "batched": batched,
                "beam": beam,
                "times_teacher": speed / (1 if beam == 1 else 4),
            }
            for (kind, batched), speed in speeds.items()
            for beam in (1, 5)
        ]
    return made


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Any]:
    """Three students. The teacher has a BLEU of 40 with beam 5; only "small" was scored in int8 too."""
    rows = [
        row("Teacher", 39.0, "float32") | {"parameters": PARAMETERS},
        row("big", 38.5, "float32", {("float32", True): 12.0, ("int8", True): 99.0, ("float32", False): 6.0}),
        row("small", 37.5, "float32", {("float32", True): 20.0, ("int8", True): 25.0, ("float32", False): 9.0}),
        row("small, int8", 37.0, "int8"),
        row("slow", 36.0, "float32", {("float32", True): 8.0}),
    ]
    models = {one["name"]: [{"sha256": [one["name"].split(",")[0]]}] for one in rows}
    content = {"title": "Shapes", "teacher": "Teacher", "rows": rows, "signature": {"models": models}}
    write_json(tmp_path / "table.json", content)
    (read,) = read_tables([tmp_path / "table.json"])
    return read


def test_speeds_in_a_precision_have_its_bleu(table: dict[str, Any]) -> None:
    found = {(one.row, one.precision, one.batched, one.beam): one for one in measured(table)}
    assert {key for key in found if key[1] == "int8"} == {("small, int8", "int8", True, beam) for beam in (1, 5)}
    assert found["small, int8", "int8", True, 1].loss == 3.0 and found["small, int8", "int8", True, 5].loss == 2.0
    assert found["small", "float32", True, 5].times_teacher == 5.0 and found["big", "float32", False, 1].loss == 1.5


def test_only_speeds_beside_the_tables_own_teacher_count(table: dict[str, Any]) -> None:
    """BLEU is lost against the table's teacher, so a speed beside another model says nothing."""
    for one, teacher in (("big", ["another"]), ("small", ["Teacher"])):
        next(row for row in table["rows"] if row["name"] == one)["cost_of"]["teacher"] = teacher
    assert {one.row for one in measured(table)} == {"small", "small, int8", "slow"}


def test_the_bleu_of_a_precision_is_not_that_of_a_shortlist(table: dict[str, Any]) -> None:
    next(row for row in table["rows"] if row["name"] == "small, int8")["shortlist"] = "0123"
    assert {one.row for one in measured(table)} == {"big", "small", "slow"}


@pytest.mark.parametrize(
    ("speedup", "batched", "expected"),
    [
        (3, True, ("big", "float32", 5)),
        (4, True, ("big", "float32", 1)),
        (12, True, ("big", "float32", 1)),
        (12.1, True, ("small", "float32", 1)),
        (21, True, ("small, int8", "int8", 1)),
        (7, False, ("small", "float32", 1)),
    ],
)
def test_of_the_students_that_are_fast_enough_the_one_that_loses_least(
    table: dict[str, Any], speedup: float, batched: bool, expected: tuple[str, str, int]
) -> None:
    advice = advise_shape([table], SpeedWish(speedup, batched), 4.9e6)
    shape = advice["shape"]
    assert (shape["row"], shape["precision"], shape["beam"]) == expected and advice["certainty"] == "leaning"
    text = "\n".join(_shape(advice))
    assert f"**{expected[0]}, " in text and "leaning** (measured on another task: Shapes)" in text
    assert f"{speedup:g} times as fast {'in batches' if batched else 'one by one'}" in text


def test_the_front_leaves_out_what_another_beats_in_both(table: dict[str, Any]) -> None:
    front = pareto(list(measured(table)))
    assert [one.times_teacher for one in front] == sorted((one.times_teacher for one in front), reverse=True)
    assert [one.loss for one in front] == sorted((one.loss for one in front), reverse=True)
    assert "slow" not in {one.row for one in front}
    for one in measured(table):
        assert any(best.times_teacher >= one.times_teacher and best.loss <= one.loss for best in front)


def test_what_is_not_known(table: dict[str, Any]) -> None:
    for tables, wish, parameters, reason in (
        ([table], SpeedWish(30), PARAMETERS, "no measured student is as fast in batches; small, int8 is 25.0 times"),
        ([table], SpeedWish(2), 8e6, "the teacher has 8.00 million parameters here, 5.00 there"),
        ([], SpeedWish(2), PARAMETERS, "no table of shapes; give --shapes"),
    ):
        advice = advise_shape(tables, wish, parameters)
        assert (advice["shape"], advice["certainty"]) == (None, "not known") and advice["reason"].startswith(reason)
        assert f"**not known** ({reason}" in "\n".join(_shape(advice))


def test_a_table_that_cannot_be_used_is_refused(table: dict[str, Any], tmp_path: Path) -> None:
    for change, reason in (
        ({"teacher": None}, "teacher: it has no row; give fairseq-kd table --teacher"),
        ({"rows": table["rows"][:1]}, "rows: none has a speed beside the teacher"),
    ):
        content = {key: value for key, value in table.items() if key != "sha256"}
        write_json(tmp_path / "other.json", {**content, **change})
        with pytest.raises(UserError, match=reason):
            read_tables([tmp_path / "other.json"])
    with pytest.raises(UserError, match="--speedup 0: give a number above 0"):
        SpeedWish(0)


def test_the_published_table_of_multi30k_gives_advice() -> None:
    (table,) = read_tables([ROOT / "results" / "multi30k_en_de" / "table.json"])
    advice = advise_shape([table], SpeedWish(9), PARAMETERS)
    assert advice["shape"]["beam"] == 1 and advice["shape"]["times_teacher"] >= 9 and 0 < advice["shape"]["loss"] < 5
