"""TeacherDist on hand-made samples, the bootstrap's interval, and risks beside scores in a table."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairseq_kd import cli
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.mutual_risks import mean_with_interval
from fairseq_kd.evaluate.mutual_scores import distinct_bigrams
from fairseq_kd.evaluate.result_shapes import RISKS
from fairseq_kd.report.page.curves import risk_picture
from fairseq_kd.storage.structured import read_json
from tests.support.results import BAD, result


@pytest.mark.parametrize(
    ("samples", "share"),
    [
        ([[4, 5, 6]] * 5, 1 / 5),
        ([[4, 5, 6], [7, 8, 9]], 1),
        ([[4, 4, 4]], 1 / 2),
        ([[4, 5, 6], [4, 5, 7], [5, 4, 5]], 4 / 6),  # 45, 56, 57, 54
        ([[4, 5], [6], []], 1),
        ([[4], [5]], 0),
        ([[], []], 0),
    ],
)
def test_distinct_bigrams(samples: list[list[int]], share: float) -> None:
    assert distinct_bigrams(samples) == pytest.approx(share)


def test_the_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(3).gamma(2.0, 5.0, size=400)
    found = mean_with_interval(values)
    low, high = found["interval"]
    assert found["mean"] == pytest.approx(values.mean()) and low < found["mean"] < high
    # with so many values the mean is all but normal
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert mean_with_interval(values) == found
    assert mean_with_interval(np.full(7, 2.5)) == {"mean": 2.5, "interval": [2.5, 2.5]}


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    draw = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        low, high = mean_with_interval(draw.exponential(3.0, size=100))["interval"]
        held += low <= 3.0 <= high
    assert 178 <= held <= 198  # of 200: 190, less a little for the skew


def measured(model: str, mean: float, **settings: Any) -> dict[str, Any]:
    """What `fairseq-kd risks` would write, every figure with an interval of ± 1."""
    sampling = {"top_k": 0, "top_p": 1.0, "temperature": 1.0, "max_len_a": 0.0, "max_len_b": 200, "seed": 1}
    shared = {"teacher": "t", "data": {"a": "1"}, "subset": "test", "rows": 30, "samples": 5, "sampling": sampling}
    return {
        "model": "/secret/place/model.pt",
        "settings": {"model": model, **shared, **settings},
        "risks": {name: {"mean": mean, "interval": [mean - 1, mean + 1]} for name in RISKS},
        "bootstrap": {"samples": 1000, "seed": 12345},
    }


def table(folder: Path, scores: list[dict[str, Any]], risks: list[dict[str, Any]], *options: str) -> dict[str, Any]:
    names = {"scores": [], "risks": []}
    for kind, contents in (("scores", scores), ("risks", risks)):
        for number, content in enumerate(contents):
            names[kind].append(str(folder / f"{kind}{number}.json"))
            Path(names[kind][-1]).write_text(json.dumps(content))
    cli.main(["table", *names["scores"], "--risks", *names["risks"], "--output", str(folder / "made"), *options])
    return read_json(folder / "made" / "table.json")


def test_seeds_are_put_together_and_rows_without_risks_stay(tmp_path: Path) -> None:
    scores = [result("a", 1, BAD), result("b", None, BAD), result("a", 2, BAD)]
    content = table(tmp_path, scores, [measured("a2", 14.0), measured("a1", 10.0)], "--teacher", "a")
    likelihood = content["rows"][0]["risks"]["likelihood"]
    assert likelihood["values"] == [10.0, 14.0] and likelihood["mean"] == 12 and likelihood["interval"] == [11, 13]
    assert likelihood["sd"] == pytest.approx(8**0.5) and "risks" not in content["rows"][1]
    text = (tmp_path / "made" / "table.md").read_text()
    assert text.count("| 12.00 ± 2.83 | 12.00 ± 2.83 |") == 1 and text.count("| – | – |") == 1
    assert "secret" not in json.dumps(content) and (tmp_path / "made" / "risks.png").stat().st_size > 1000
    assert content["signature"]["risks"]["samples"] == 5 and content["signature"]["risks"]["teacher"] == "t"


def test_what_samples_were_cut_to_is_told(tmp_path: Path) -> None:
    sampling = measured("", 0)["settings"]["sampling"] | {"top_k": 40, "temperature": 0.7}
    table(tmp_path, [result("a", 1, BAD)], [measured("a1", 10.0, sampling=sampling)])
    assert "(top-k 40, temperature 0.7). TeacherDist" in (tmp_path / "made" / "table.md").read_text()


def test_risks_of_other_sources_or_lengths_are_told(tmp_path: Path) -> None:
    """Where a student's positions are few, both models' samples are shorter, and long sources are left out."""
    scores = [result(name, 1, BAD) for name in "abc"]
    wide, narrow = {"skipped": 0, "longest": 200}, {"skipped": 7, "longest": 31}
    note = (
        "Risks are of different sources or lengths; compare only those that agree. "
        "a, b: all sources, at most 200 tokens; c: without 7 sources, at most 31 tokens."
    )
    risks = [measured("a1", 10.0) | wide, measured("b1", 10.0) | wide, measured("c1", 9.0) | narrow]
    content = table(tmp_path, scores, risks)
    assert note in (tmp_path / "made" / "table.md").read_text() and note in risk_picture(content).note
    content = table(tmp_path, scores, [*risks[:2], measured("c1", 9.0)])  # of an earlier version
    assert "Risks are of" not in (tmp_path / "made" / "table.md").read_text() + risk_picture(content).note


@pytest.mark.parametrize(("teacher", "told"), [("t", False), ("another", True)])
def test_risks_beside_another_model_than_the_teachers_are_told(tmp_path: Path, teacher: str, told: bool) -> None:
    scores = [result("a", 1, BAD), result("big", 1, BAD, models=[{"sha256": teacher}])]
    table(tmp_path, scores, [measured("a1", 10.0)], "--teacher", "big")
    text = (tmp_path / "made" / "table.md").read_text()
    assert ("That teacher (SHA-256 t…) is not the model of the row big." in text) == told


@pytest.mark.parametrize(
    ("risks", "message"),
    [
        ([measured("a1", 1.0)], r"'a': no risks of seed 2; run fairseq-kd risks for it"),
        ([measured("x", 1.0)], r"risks0\.json: no row has this model"),
        ([measured("b3", 1.0), measured("b3", 2.0)], r"risks1\.json: another file has the same model"),
        (
            [measured("b3", 1.0), measured("a1", 1.0, teacher="u")],
            r"risks1\.json: measured in another way .*teacher is t there",
        ),
        ([measured("b3", 1.0, rows=29)], r"risks0\.json: measured on 29 rows, but the scores are of 30"),
        (
            [measured("b3", 1.0, subset="valid")],
            r"risks0\.json: measured on the subset 'valid', but the scores are of 'test'; measure both on one --subset",
        ),
        ([{"settings": {}}], r"risks0\.json: no result of fairseq-kd risks"),
        ([[]], r"risks0\.json: no result of fairseq-kd risks"),
        ([result("b", 3, BAD)], r"risks0\.json: no result of fairseq-kd risks"),
    ],
)
def test_what_does_not_fit_together(tmp_path: Path, risks: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        table(tmp_path, [result("a", 1, BAD), result("a", 2, BAD), result("b", 3, BAD)], risks)
    assert not (tmp_path / "made").exists()


def test_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(result("a", 1, BAD)))
    words = [
        "table",
        str(tmp_path / "a.json"),
        "--risks",
        str(tmp_path / "none.json"),
        "--output",
        str(tmp_path / "out"),
    ]
    with pytest.raises(
        UserError, match=r"none\.json: cannot be read \(No such file.*; give a file that fairseq-kd risks"
    ):
        cli.main(words)
