"""The points of a study: which there can be, and what of the work all of them share."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from fairseq_kd.errors import UserError
from fairseq_kd.report.experiment.points import at_points, keys_at, shared_folders
from fairseq_kd.report.experiment.reader import read_experiment
from fairseq_kd.storage.shapes import Misfit
from tests.support.experiments import small_experiment

TEXT, TAUGHT = ["raw", "data"], ["teacher", "distilled", "gold_distilled", "samples"]


@pytest.mark.parametrize(
    ("fixed", "varied", "shared"),
    [
        ({}, "student", [*TEXT, *TAUGHT, "caches"]),
        ({}, "raw", []),
        ({}, "vocabulary", ["raw"]),
        ({}, "teacher", TEXT),
        ({"vocabulary": 100}, "ready_teacher", TEXT),
        ({"vocabulary": "teacher"}, "ready_teacher", ["raw"]),
        ({"vocabulary": 100}, "teacher_vocabulary", TEXT),
        ({}, "decoding", [*TEXT, "teacher"]),
        ({}, "samples", [*TEXT, *TAUGHT[:-1]]),
        ({}, "cache", [*TEXT, *TAUGHT]),
        ({}, "corpora", [*TEXT, *TAUGHT]),
        ({}, "texts", [*TEXT, *TAUGHT]),
        ({}, "seq_inter", [*TEXT, *TAUGHT]),
    ],
)
def test_folders_that_no_varied_key_reaches_are_shared(fixed: dict[str, Any], varied: str, shared: list[str]) -> None:
    assert shared_folders(fixed | {"points": {1: None, 2: {varied: "x"}}}) == shared


OTHER_ROWS = {"rows": {"seq_kd": {"name": "Other", "data": "gold", "options": ""}}, "baseline": "Other"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"points": {"small": {}, "large": {}}}, "points.small: 'small' is no number; a point is a place on the axis"),
        ({"points": {True: {}}}, "points.True: True is no number"),
        ({"points": {".nan": {}, float("inf"): {}}}, "points..nan: '.nan' is no number"),
        ({"points": {"1 2": {}}}, "points.1 2: '1 2' is no number"),
        ({"points": {1: {}, "1.0": {}}}, "points.1.0: a second point at 1; leave one out"),
        ({"points": {0: {}}}, ""),
        ({"points": {0: {}}, "axis": {"label": "x", "scale": "log"}}, "points.0: has no logarithm; give numbers"),
        ({"points": {1: {}, 2: {"beams": "1 5"}}}, "points.2.beams: differs from that of point 1; a study"),
        ({"points": {1: {}, 2: OTHER_ROWS}}, "points.2.rows: their names differ from those of point 1"),
        ({"axis": {"label": "one\ntwo", "scale": "log"}}, "axis.label: has several lines; write it in one"),
        ({"ready_teacher": {"model": "x.pt", "scored": False}}, "ready_teacher.scored: a study needs the teacher"),
        ({"points": {1: None, "1e-3": {"student": ""}, -2: {"seeds": [1, 2]}}}, ""),
    ],
)  # fmt: skip
def test_a_study_that_would_fail_later(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    keys = small_experiment("s", 1, **{"axis": {"label": "x", "scale": "linear"}, "points": {1: {}}} | changes)
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(keys, sort_keys=False))
    if not told:
        assert read_experiment(tmp_path / "s.yaml", complete=True)["points"].keys() == changes["points"].keys()
        return
    with pytest.raises(UserError, match=r"s\.yaml: line \d+, ") as error:
        read_experiment(tmp_path / "s.yaml", complete=True)
    assert str(error.value).partition(", ")[2].startswith(told)


def test_a_point_is_found_by_its_place() -> None:
    """Snakemake reads the words of its option --config otherwise than YAML."""
    points = {1: None, "1e-3": {"student": "s"}, 0.5: {}}
    assert keys_at(points, 0.001) == keys_at(points, "1e-3") == {"student": "s"}
    assert keys_at(points, 1) == {} and keys_at(None, None) == {}
    assert at_points({"student": "t", "points": points})["1e-3"]["student"] == "s"
    with pytest.raises(Misfit, match=r"point: there is no 3; choose from 1, 1e-3, 0\.5"):
        keys_at(points, 3)
