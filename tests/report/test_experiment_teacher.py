"""Which teacher an experiment's keys describe, and what does not go with it."""

from pathlib import Path
from typing import Any

import pytest

from fairseq_kd.report.experiment.reader import check_keys
from fairseq_kd.report.experiment.teacher import read_teacher
from fairseq_kd.storage.shapes import Misfit

ROW = {"name": "Student", "data": "gold", "options": ""}
KEYS: dict[str, Any] = {
    "title": "t", "languages": ["a", "b"], "raw": "r", "vocabulary": 9, "training": "t", "teacher": "t", "student": "s",
    "decoding": "d", "beams": 5, "seeds": [1], "rows": {"student": ROW}, "baseline": "Student",
}  # fmt: skip
CHECKPOINT = {"ready_teacher": "models/x.pt"}
FOLDER = {"ready_teacher": {"model": "models/nllb", "options": "--profile nllb"}}


def test_a_trained_teacher() -> None:
    check_keys(KEYS)
    assert read_teacher(KEYS, Path("/c")).model is None and read_teacher(KEYS, Path("/c")).shares_vocabulary
    assert not read_teacher(KEYS | {"teacher_vocabulary": 8}, Path("/c")).shares_vocabulary


def test_a_checkpoint() -> None:
    check_keys({key: value for key, value in KEYS.items() if key != "teacher"} | CHECKPOINT)
    found = read_teacher(KEYS | CHECKPOINT, Path("/c"))
    assert (found.model, found.dictionaries, found.spm) == tuple(
        Path("/c/models") / name for name in ("x.pt", "", "spm.model")
    )
    assert found.scored and not found.outside and not found.shares_vocabulary
    shared = KEYS | {"vocabulary": "teacher", "ready_teacher": {"model": "/m/x.pt", "spm": "~/s", "scored": False}}
    check_keys(shared | {"cache": {"gold": "--top-k 8"}})
    found = read_teacher(shared, Path("/c"))
    assert found.shares_vocabulary and not found.scored and found.model == Path("/m/x.pt")
    assert found.spm == Path("~/s").expanduser()


def test_a_folder() -> None:
    check_keys(KEYS | FOLDER)
    found = read_teacher(KEYS | FOLDER, Path("/c"))
    assert found.outside and not found.scored and not found.shares_vocabulary
    assert (found.model, found.options) == (Path("/c/models/nllb"), "--profile nllb")
    check_keys(KEYS | {"ready_teacher": {"model": "models/nllb", "scored": False}})


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"teacher": None}, "teacher: is missing; give the options of its training, or a model as ready_teacher"),
        ({"vocabulary": "many"}, "vocabulary: 'many' is no whole number; give one, or 'teacher'"),
        ({"vocabulary": "teacher"}, "vocabulary: 'teacher' needs the key ready_teacher"),
        (FOLDER | {"vocabulary": "teacher"}, "vocabulary: the folder of another maker's model has no fairseq dict"),
        (FOLDER | {"cache": {"gold": "x"}}, "cache: needs a teacher with the student's subwords; the folder"),
        (CHECKPOINT | {"risks": "x"}, "risks: needs a teacher with the student's subwords; give 'vocabulary: teacher'"),
        ({"teacher_vocabulary": 8, "cost": ["student"]}, "cost: needs .*; leave out teacher_vocabulary"),
        (CHECKPOINT | {"rows": {"student": ROW | {"init": "x"}}}, "rows.student.init: needs a teacher with"),
        (FOLDER | {"rows": {"student": ROW | {"start": "teacher"}}}, "rows.student.start: needs a teacher with"),
        (
            {"teacher": None, "ready_teacher": "x.pt", "vocabulary": "teacher"}
            | {"rows": {"student": ROW | {"start": "teacher"}}},
            "teacher: is missing; rows.student.start needs the options of the teacher's size",
        ),
        (FOLDER | {"axis": {"label": "l", "scale": "log"}}, "ready_teacher: a study needs a fairseq checkpoint"),
        ({"ready_teacher": {"path": "x"}}, "path: is no known key"),
        (
            {"ready_teacher": {"model": "models/nllb", "spm": "other.model"}},
            "ready_teacher.spm: is of a fairseq checkpoint; .* name other sentencepiece models in options",
        ),
        ({"ready_teacher": {"model": "models/nllb", "dictionaries": "x"}}, "ready_teacher.dictionaries: is of a fairs"),
        ({"ready_teacher": {"model": "models/nllb", "scored": True}}, "ready_teacher.scored: a folder has no row"),
        ({"rows": {"student": ROW | {"data": "gold+mono"}}}, "rows.student.data: there is no 'mono'"),
        ({"corpora": {"gold": "x"}}, "corpora.gold: the name is in use"),
        ({"corpora": {"mono": "x"}, "texts": {"mono": "x"}}, "texts.mono: the name is in use"),
        ({"texts": {"a/b": "x"}}, "texts.a/b: name it with small letters"),
    ],
)
def test_what_does_not_fit_is_told_with_its_key(keys: dict[str, Any], told: str) -> None:
    config = {key: value for key, value in (KEYS | keys).items() if value is not None}
    with pytest.raises(Misfit, match=told):
        check_keys(config)
