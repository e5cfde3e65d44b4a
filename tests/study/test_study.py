"""`fairseq-kd study` of hand-made results: points, lines, buckets by length, crossings, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairseq_kd import cli
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scoring.scores import Scoring, score_text
from fairseq_kd.storage.structured import read_json
from fairseq_kd.study import study as make_study
from fairseq_kd.study.axis import Axis
from fairseq_kd.study.curves import length_buckets
from tests.support.results import LENGTHS, REFERENCES, scored

Study = Callable[..., tuple[str, dict[str, Any], Path]]


@pytest.fixture
def study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Study:
    """Run the verb on (place, result) pairs; returns (what it printed, study.json's content, its folder)."""

    def run(places: list[tuple[float, dict[str, Any]]], *options: str) -> tuple[str, dict[str, Any], Path]:
        words = []
        for number, (at, content) in enumerate(places):
            (tmp_path / f"{number}.json").write_text(json.dumps(content))
            words.append(f"{at}={tmp_path / str(number)}.json")
        folder = tmp_path / "made"
        cli.main(["study", *words, "--axis", "width", "--output", str(folder), *options])
        return capsys.readouterr().out, read_json(folder / "study.json"), folder

    return run


MEASURES = ["teacher_forced", "teacher_forced_bleu", "beam 1", "beam 5"]
CROSSED = [
    (64, scored("Seq-KD", 6, 8)),
    (64, scored("Word-KD", 3, 9)),
    (16, scored("Word-KD", 6, 8)),
    (16, scored("Seq-KD", 3, 7)),
    (16, scored("Teacher", 30)),
    (64, scored("Teacher", 30)),
]


def test_lines_over_the_axis(study: Study) -> None:
    text, content, folder = study(CROSSED, "--teacher", "Teacher", "--scale", "log", "--title", "A title")
    axis = content["over_axis"]
    assert axis["places"] == [16, 64] and list(axis["scores"]) == MEASURES
    for measure in ("beam 1", "teacher_forced_bleu"):
        for name, places in axis["scores"][measure].items():
            for number, place in enumerate(places):
                (run,) = (one for at, one in CROSSED if at == (16, 64)[number] and one["name"] == name)
                made = run["beams"]["1"] if measure == "beam 1" else run["teacher_forced"]
                assert place["mean"] == pytest.approx(made["bleu"]["score"]) and place["values"] == [place["mean"]]
                low, high = place["interval"]
                assert low < place["mean"] < high
    assert [one["mean"] for one in axis["scores"]["teacher_forced"]["Seq-KD"]] == [70, 80]
    (pair,) = axis["comparisons"]["beam 5"]
    (crossing,) = pair["crossings"]
    # The lines change places: they cross in the logarithm's middle, whatever sentences are drawn, since these are the
    # same at both places.
    assert {pair["line"], pair["other"]} == {"Word-KD", "Seq-KD"}
    assert [crossing["at"], *crossing["interval"]] == pytest.approx([32] * 3) and crossing["share"] > 0.99
    assert axis["comparisons"]["teacher_forced"][0]["crossings"] == []
    assert "cross at 32 (95 %: " in text and "Seq-KD is above beyond" in text
    assert (
        "teacher-forced accuracy (%): Seq-KD and Word-KD do not cross, Word-KD is above (clear at 2 of 2 places)."
        in text
    )
    forced = axis["scores"]["teacher_forced_bleu"]["Seq-KD"][0]["mean"]
    assert f"| 16 | Seq-KD | 1.23 | 70.00 (70.00 to 70.00) | {forced:.2f} (" in text
    assert "- Teacher-forced BLEU: of these likeliest tokens" in text
    assert text.startswith("# A title\n") and text == (folder / "study.md").read_text()
    pictures = [path for path in folder.iterdir() if path.read_bytes().startswith(b"\x89PNG")]
    assert {path.name for path in pictures} == {"study.png", "length.png", "decoding.png"}
    assert len(list(folder.iterdir())) == 5
    assert "brown fox" not in json.dumps(content) and "/secret" not in json.dumps(content)


def test_pictures_have_the_figures_of_their_lines_and_pairs(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr("fairseq_kd.study.plots.save_picture", lambda figure, path: drawn.update({path.name: figure}))
    axis = study(CROSSED)[1]["over_axis"]
    for axes, measure in zip(drawn["study.png"].axes, MEASURES, strict=True):
        for bars, scores in zip(axes.containers, axis["scores"][measure].values(), strict=True):
            points, ends, _ = bars.lines
            assert points.get_ydata().tolist() == [one["mean"] for one in scores]
            for side, end in enumerate(ends):
                assert end.get_ydata().tolist() == pytest.approx([one["interval"][side] for one in scores])
    for number, axes in enumerate(drawn["decoding.png"].axes):
        pairs = [axis["comparisons"][measure][number]["differences"] for measure in MEASURES]
        for place, bars in enumerate(axes.containers):
            assert bars.lines[0].get_ydata().tolist() == [pair[place]["mean"] for pair in pairs]
    assert len(drawn["decoding.png"].axes) == 3


def test_a_crossing_that_may_lie_beyond_the_axis(study: Study) -> None:
    """At the second place Seq-KD is below Word-KD by two of thirty sentences, and above in many resamples."""
    places = [(1, scored("Word-KD", 3)), (1, scored("Seq-KD", 30)), (2, scored("Word-KD", 4)), (2, scored("Seq-KD", 3))]
    text, content, _ = study(places)
    (crossing,) = content["over_axis"]["comparisons"]["beam 5"][0]["crossings"]
    low, high = crossing["interval"]
    assert low < crossing["at"] < high == 2 and 0.5 < crossing["share"] < 0.97
    assert f"cross at {crossing['at']:.3g} (95 %: {low:.3g} to ≥ 2; in {100 * crossing['share']:.0f} %" in text
    assert "Word-KD is above beyond" in text and "≤ and ≥ stand where an interval holds what lies beyond" in text


def test_buckets_hold_each_sentence_once_and_about_as_many() -> None:
    lengths = [7, 3, 3, 9, 4, 12, 30, 5, 6, 3, 11, 8]
    buckets = length_buckets(lengths)
    assert sorted(np.concatenate(buckets)) == list(range(12))
    assert [sorted(lengths[row] for row in rows) for rows in buckets] == [[3, 3, 3, 4], [5, 6, 7], [8, 9, 11], [12, 30]]
    assert [len(rows) for rows in length_buckets([5] * 9)] == [9]


def test_scores_by_length_are_those_of_the_buckets_sentences(study: Study) -> None:
    lengths = [*LENGTHS[:-1], 39]  # far from the others of its bucket, whose place is the mean
    forced = {"accuracy": 0, "correct": lengths, "tokens": [40] * 30}
    word_kd = scored("Word-KD", 3, teacher_forced=forced, source_lengths=lengths)
    _, content, _ = study([(1, word_kd), (1, scored("Seq-KD", 5, source_lengths=lengths))])
    (point,) = content["over_lengths"]
    assert [bucket["sentences"] for bucket in point["buckets"]] == [9, 9, 6, 6]
    spans = [(bucket["shortest"], bucket["longest"]) for bucket in point["buckets"]]
    assert spans == [(3, 5), (6, 8), (9, 10), (11, 39)]
    assert point["places"] == [4, 7, 9.5, 16]
    means = [one["mean"] for one in point["scores"]["teacher_forced"]["Word-KD"]]
    assert means == pytest.approx([100 * place / 40 for place in point["places"]])
    assert [one["mean"] for one in point["scores"]["teacher_forced"]["Seq-KD"]] == [80] * 4
    # 10 to 40 % against 80 %
    (pair,) = point["comparisons"]["teacher_forced"]
    assert pair["line"] == "Seq-KD" and pair["crossings"] == []


def test_seeds_are_averaged_and_widen_the_interval(study: Study) -> None:
    seeds = [(1, scored("Word-KD", 3, right, seed)) for seed, right in ((1, 4), (2, 8))]
    text, content, _ = study([*seeds, *((at, scored("Word-KD", 3, 6)) for at in (2, 3))])
    first, second, _ = content["over_axis"]["scores"]["teacher_forced"]["Word-KD"]
    assert first["mean"] == 60 and first["values"] == [40, 80]
    # 60 ± 20, enlarged by √2 as in a table: two seeds drawn of two vary half as much as two new ones.
    assert first["interval"] == pytest.approx([60 - 20 * 2**0.5, 60 + 20 * 2**0.5])
    assert second["interval"] == [60, 60]
    assert content["points"][0]["seeds"] == {"Word-KD": [1, 2]}
    assert "and of the training seeds, with deviations enlarged by √(n / (n − 1))" in text
    assert "There is only one line" in text


def test_no_teacher_forced_accuracy_where_a_test_set_has_no_targets(study: Study) -> None:
    _, content, _ = study([(1, scored("Word-KD", 3, teacher_forced=None)), (2, scored("Word-KD", 3))])
    assert list(content["measures"]) == ["beam 1", "beam 5"]


def test_results_of_before_teacher_forced_bleu_still_make_a_study(study: Study) -> None:
    """Even one of them leaves the measure out for all, so that each line has all its points."""
    old = scored("Word-KD", 3)
    for key in ("bleu", "hypotheses"):
        del old["teacher_forced"][key]
    text, content, _ = study([(1, old), (2, scored("Word-KD", 3))])
    assert list(content["measures"]) == [measure for measure in MEASURES if measure != "teacher_forced_bleu"]
    assert "Teacher-forced BLEU" not in text and "Teacher-forced accuracy: " in text


def test_a_study_gives_evaluates_figures_of_several_references(study: Study) -> None:
    more = [None if row % 3 == 0 else line.replace("lazy", "sleepy") for row, line in enumerate(REFERENCES)]
    made = scored("Word-KD", 2, more_references=[more])
    for found in (*made["beams"].values(), made["teacher_forced"]):
        found["bleu"] = score_text(found["hypotheses"], REFERENCES, more=[more])["bleu"]
    _, content, _ = study([(1, made)])
    for measure, found in (("beam 5", made["beams"]["5"]), ("teacher_forced_bleu", made["teacher_forced"])):
        (place,) = content["over_axis"]["scores"][measure]["Word-KD"]
        assert place["mean"] == pytest.approx(found["bleu"]["score"])


OLD = {key: value for key, value in scored("a", 3).items() if key != "source_lengths"}


@pytest.mark.parametrize(
    ("places", "options", "message"),
    [
        ([(1, scored("a", 3)), (2, scored("b", 3))], [], "point 2: its rows differ from those of point 1"),
        ([(1, scored("a", 3)), (1, scored("a", 3))], [], "a second 'a' with seed 1"),
        ([(1, OLD)], [], "point 1: scored by an earlier fairseq-kd evaluate; evaluate it again"),
        ([(0, scored("a", 3))], ["--scale", "log"], "--scale log: 0 has no logarithm"),
        ([(1, scored("a", 3))], ["--teacher", "b"], "--teacher 'b': no such row; the rows are: a"),
        ([(1, scored("a", 3))], ["--config", "none.yaml"], "--config none.yaml: no such file"),
        ([("x", scored("a", 3))], [], "give AT=FILE, a number"),
        ([("nan", scored("a", 3))], [], "give AT=FILE, a number"),
    ],
)
def test_what_does_not_fit_together(
    study: Study, tmp_path: Path, places: list[tuple[float, dict[str, Any]]], options: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        study(places, *options)
    assert not (tmp_path / "made").exists()


def test_points_scored_in_other_ways_make_no_line(study: Study, tmp_path: Path) -> None:
    other = scored("a", 3, tokenize="char")
    for found in other["beams"].values():
        found |= score_text(found["hypotheses"], REFERENCES, Scoring("char"))
    with pytest.raises(UserError) as error:
        study([(1, scored("a", 3)), (2, other)])
    message = str(error.value)
    assert "point 2: its BLEU is nrefs:1|case:mixed|eff:no|tok:char|" in message
    assert "but that of point 1 is nrefs:1|case:mixed|eff:no|tok:13a|" in message and "\n" not in message
    assert not (tmp_path / "made").exists()


def test_points_decoded_in_different_ways_are_told(study: Study) -> None:
    """The axis may be an option of the search, so such points make a line."""
    other = {"decoding": {"max_len_b": 200, "lenpen": 0.6}, "precision": "int8"}
    text, _, _ = study([(1, scored("a", 3)), (2, scored("a", 4, **other))])
    (note,) = (line for line in text.splitlines() if "different ways" in line)
    assert note == (
        "- Results were decoded in different ways: precision float32 or int8; search max_len_b 200, or max_len_b 200, "
        "lenpen 0.6."
    )
    same = {"decoding": {"max_len_b": 200, "max_tokens": 12}, "engine": "ctranslate2"}
    assert "different ways" not in study([(1, scored("a", 3)), (2, scored("a", 4, **same))])[0]


def test_names_with_dollar_signs_are_drawn_as_they_are(study: Study) -> None:
    places = [(at, scored(name, every)) for at in (1, 2) for name, every in (("a$_$b", 3), ("_c", 4))]
    _, _, folder = study(places, "--title", "$_$", "--axis", "$_$")
    assert len([*folder.glob("*.png")]) == 3


def test_caseless_points_have_caseless_intervals(study: Study) -> None:
    places = []
    for at, every in ((1, 3), (2, 4)):
        made = scored("a", every, lowercase=True)
        made["beams"] = {"1": dict(made["beams"]["1"])}
        for found in (made["beams"]["1"], made["teacher_forced"]):
            found["hypotheses"] = [line.upper() for line in found["hypotheses"]]
            found |= {"bleu": score_text(found["hypotheses"], REFERENCES, Scoring(lowercase=True))["bleu"]}
        made["beams"]["1"] |= score_text(made["beams"]["1"]["hypotheses"], REFERENCES, Scoring(lowercase=True))
        places.append((at, made))
    text, content, _ = study(places)
    _, cased, _ = study([(at, scored("a", every)) for at, every in ((1, 3), (2, 4))])
    for measure in ("beam 1", "teacher_forced_bleu"):
        assert content["over_axis"]["scores"][measure] == cased["over_axis"]["scores"][measure]
    assert "- BLEU and chrF take upper and lower case as the same" in text and "|case:lc|" in text


def test_a_word_that_is_no_pair(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give AT=FILE"):
        cli.main(["study", "scores.json", "--axis", "x", "--output", str(tmp_path / "made")])


def test_the_function_returns_what_it_writes(tmp_path: Path) -> None:
    for number, (_, content) in enumerate(CROSSED[:4]):
        (tmp_path / f"{number}.json").write_text(json.dumps(content))
    files = {64: [tmp_path / "0.json", tmp_path / "1.json"], 16: [tmp_path / "2.json", tmp_path / "3.json"]}
    made = make_study(files, Axis("width", "log"), tmp_path / "made", title="A title")
    assert made == read_json(tmp_path / "made" / "study.json")
    assert made["axis"] == {"label": "width", "scale": "log"} and made["over_axis"]["places"] == [16, 64]
