"""The points of a study: what of the work all of them share."""

from typing import Any

import pytest

from fairseq_kd.report.experiment_points import shared_folders

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
