"""Costs in the table, of hand-made results: what is shown, what is averaged, what is drawn, what is refused."""

import pytest

from fairseq_kd.errors import UserError
from fairseq_kd.report.measures import measures
from tests.support.results import BAD, REFERENCES, result, spoil

TEACHER = {"models": [{"path": "/secret/t.pt", "sha256": "t" * 64}], "beam": 5, "measured": []}


def line(engine, batched, beam, rate, **more):
    return {
        "engine": engine,
        "precision": "float32",
        "batched": batched,
        "beam": beam,
        **{"seconds": 1.0, "sentences_per_second": rate, "target_tokens_per_second": 10 * rate, "memory": rate / 2},
        **more,
    }


def costing(name, seed, masses, ratio=None, **changes):
    """A result with mode masses at beams 1 and 5 and, where a ratio to the teacher is given, costs."""
    run = result(name, seed, spoil(REFERENCES, 5), nonzero_parameters=617_283)
    for beam, mass in zip(("1", "5"), masses, strict=True):
        run["beams"][beam] = {**run["beams"][beam], "mode_mass": mass}
    if ratio:
        lines = [
            line(engine, batched, beam, 100 * ratio, times_teacher=ratio / beam, times_teacher_range=[1, 2])
            for engine in ("fairseq", "ctranslate2")
            for batched in (False, True)
            for beam in (1, 5)
        ]
        run["cost"] = {"rounds": 3, "sentences": 20, "measured": lines, "teacher": TEACHER}
    return run | changes


def test_mode_mass_and_nonzero_parameters_are_columns(table):
    runs = [costing("a", 1, (0.1, 0.2)), costing("a", 2, (0.3, 0.2), nonzero_parameters=637_283)]
    runs.append(result("from before", 1, BAD))
    text, content, folder = table(runs)
    header = text.splitlines()[2]
    assert header.endswith("| non-zero (M) | p(t = ŷ), beam 1 | p(t = ŷ), beam 5 |")
    assert "| 0.63 | 20.0% | 20.0% |\n" in text and "| – | – | – |\n" in text
    assert content["rows"][0]["mode_mass"] == pytest.approx({"1": 0.2, "5": 0.2})
    assert "mode_mass" not in content["rows"][1] and "Kim & Rush" in text and "What decoding costs" not in text
    assert (folder / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_results_from_before_are_shown_as_before(table):
    text, _, _ = table([result("a", 1, BAD)])
    assert "ŷ" not in text and "non-zero" not in text


def test_costs_are_a_table_of_means_over_runs(table):
    runs = [costing("a|b", 1, (0.1, 0.2), 4.0), costing("a|b", 2, (0.1, 0.2), 6.0), costing("plain", 1, (0.1, 0.1))]
    runs[1]["cost"]["measured"].pop()  # one run measured less
    text, content, _ = table(runs)
    assert "| a\\|b | fairseq, float32 | one by one | 5 | 500.0 | 5,000.0 | 250.0 | 1.00 |" in text
    assert len(content["rows"][0]["cost"]) == 7 and "cost" not in content["rows"][1]
    assert "times as fast as the teacher with beam 5" in text and "the first 20 sentences" in text
    assert "secret" not in str(content)


def test_without_a_teacher_there_is_no_ratio(table):
    run = costing("a", 1, (0.1, 0.2), 4.0)
    for one in run["cost"]["measured"]:
        del one["times_teacher"], one["times_teacher_range"]
    run["cost"]["teacher"] = None
    text, _, _ = table([run])
    assert "| memory (MiB) |\n" in text and "teacher" not in text


def test_speed_is_the_ratio_only_where_every_row_has_it(table):
    runs = [costing("a", 1, (0.1, 0.2), 4.0), costing("b", 1, (0.1, 0.2), 2.0)]
    for one in (one for run in runs for one in run["cost"]["measured"]):
        # Those of the engine that made no scores, and those of single sentences, are other ratios.
        one["times_teacher"] *= (1 if one["engine"] == "fairseq" else 100) * (1 if one["batched"] else 3)
    _, content, _ = table(runs)
    first, second = measures(content)[:2]
    assert first.values == {"a": {"1": 4.0, "5": 0.8}, "b": {"1": 2.0, "5": 0.4}}
    assert second.label.endswith("one sentence at a time")
    assert second.values == {name: {beam: 3 * one for beam, one in own.items()} for name, own in first.values.items()}
    assert first.label == "times as fast as the teacher with beam 5, in batches"
    for other in (result("c", 1, BAD), costing("c", 1, (0.1, 0.2), 3.0, precision="int8")):
        first = measures(table([*runs, other])[1])[0]
        assert first.label == "sentences a second" and list(first.values.values()) == [{"1": 30.0, "5": 30.0}] * 3


def headline(text):
    """The cells below the heading "Against the teacher with beam 5", by row and beam; the first row is the header."""
    _, _, section = text.partition("## Against the teacher with beam 5\n\n")
    lines = [line.strip("| ").split(" | ") for line in section.split("\n\n")[0].splitlines()]
    return {tuple(cells[:2]): cells[2:] for cells in lines}


def test_the_headline_is_against_the_teacher_with_its_beam(table):
    teacher = result("big", 1, REFERENCES, nonzero_parameters=12_345_670, models=TEACHER["models"])
    costly = costing("student", 1, (0.1, 0.2), 4.0)
    text, content, _ = table([teacher, costly, costing("other", 1, (0.1, 0.2))], "--teacher", "big")
    cells = headline(text)
    assert set(cells) == {("row", "beam"), ("---", "---:"), ("student", "1"), ("student", "5")}
    assert cells["row", "beam"][3:] == [
        f"speed, {engine} float32, {way}"
        for engine in ("fairseq", "ctranslate2")
        for way in ("one by one", "in batches")
    ]
    scores = [row["beams"]["5"]["bleu"]["mean"] for row in content["rows"]]
    delta = f"{scores[1] - scores[0]:+.2f}"
    assert scores[1] < scores[0] - 1
    assert cells["student", "1"] == [f"{scores[1]:.2f}", delta, "20.0 × fewer", *["4.0 ×"] * 4]
    assert cells["student", "5"] == [f"{scores[1]:.2f}", delta, "20.0 × fewer", *["0.8 ×"] * 4]
    assert "| 0.62 (20.0 × fewer) |" in text and "| 12.35 |" in text and "That teacher" not in text


@pytest.mark.parametrize("options", [(), ("--teacher", "other")])
def test_without_the_teacher_that_was_measured_there_is_no_headline(table, options):
    text, _, _ = table([costing("a", 1, (0.1, 0.2), 4.0), result("other", 1, BAD)], *options)
    assert "What decoding costs" in text and "Against the teacher" not in text and "× fewer |" not in text
    told = f"That teacher (SHA-256 {'t' * 12}…) is not the model of the row other." in text
    assert told == bool(options)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"sentences": 30}, "sentences"),
        ({"teacher": TEACHER | {"beam": 4}}, "teacher beam"),
        ({"teacher": TEACHER | {"models": [{"path": "x", "sha256": "u" * 64}]}}, "teacher"),
        ({"teacher": None}, "teacher"),
    ],
)
def test_costs_that_do_not_compare_are_refused(table, tmp_path, change, what):
    other = costing("b", 1, (0.1, 0.2), 4.0)
    other["cost"] |= change
    with pytest.raises(UserError, match=f"'b': its cost was measured with other {what} than that of 'a'"):
        table([costing("a", 1, (0.1, 0.2), 4.0), result("c", 1, BAD), other])
    assert not (tmp_path / "made").exists()
