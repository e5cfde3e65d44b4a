"""From files to what the page shows: their kinds, which text belongs to which row, and errors in one line."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from sacrebleu import sentence_chrf

from fairseq_kd import cli
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scoring.scores import Scoring, score_text
from fairseq_kd.report import report
from fairseq_kd.report.measures import measures
from fairseq_kd.report.page.build import _content, _table, _with_roles, tables
from fairseq_kd.report.page.cells import pair_tests, score_table
from fairseq_kd.report.page.curves import gate_pictures
from fairseq_kd.report.page.files import read_given
from fairseq_kd.report.page.provenance import table_facts
from fairseq_kd.report.page.sentences import read_sentences
from fairseq_kd.report.score_table import build_table
from fairseq_kd.storage.files import write_json
from tests.report.page.conftest import SOURCES, some_results, write_results
from tests.support.commands import ROOT
from tests.support.damage import assert_told
from tests.support.results import REFERENCES, scored


def shown(files: list[Path]) -> dict[str, Any]:
    """What the page of these files shows."""
    given = read_given(files)
    return _content(given, _table(given), files)


def risks(model: str) -> dict[str, Any]:
    """What `fairseq-kd risks` writes of a row of :func:`some_results`."""
    names = ("likelihood", "coverage", "likelihood_per_token", "coverage_per_token", "teacher_dist")
    settings = {
        "teacher": "Teacher1",
        "model": model,
        "rows": 30,
        "samples": 5,
        "sampling": {"top_k": 0, "top_p": 1.0, "temperature": 1.0, "seed": 1},
    }
    figures = {name: {"mean": 2.0 + place, "interval": [1.0, 9.0]} for place, name in enumerate(names)}
    return {
        "settings": {**settings, "data": {}, "subset": "test"},
        "risks": figures,
        "bootstrap": {"samples": 9, "seed": 1},
    }


def test_the_order_and_the_names_of_files_do_not_matter(files: list[Path], tmp_path: Path) -> None:
    made = read_sentences(given := read_given(files), _table(given))
    renamed = tmp_path / "some text"
    renamed.write_bytes(files[1].read_bytes())
    again = read_given([renamed, *files[::2], *files[3::2]])
    assert made == read_sentences(again, _table(again)) is not None
    assert made["source"] == SOURCES and made["reference"] == REFERENCES


def test_each_text_belongs_to_its_row(files: list[Path]) -> None:
    results = some_results()
    given = read_given(files)
    found = read_sentences(given, {"rows": [{"name": name} for name in ("Slow", "Student", "Teacher", "Baseline")]})
    assert found is not None
    assert [(one["row"], one["seed"]) for one in found["results"]] == [(2, 1), (3, 1), (1, 1), (1, 2), (0, 1)]
    for beam in ("1", "5"):
        for place, result in enumerate(results):
            assert [texts[place] for texts in found["beams"][beam]["texts"]] == result["beams"][beam]["hypotheses"]


def test_chrf_without_saved_outputs_is_the_same(files: list[Path]) -> None:
    saved, computed = (read_sentences(given := read_given(paths), _table(given)) for paths in (files, files[::2]))
    assert saved and computed and computed["source"] is None and computed["beams"] == saved["beams"]


def test_a_sentences_chrf_is_against_all_references(tmp_path: Path) -> None:
    """Also beside a file of --save-outputs that an earlier version scored against the first reference."""
    more = [None if row % 2 else line.replace("lazy", "sleepy") for row, line in enumerate(REFERENCES)]
    result = scored("One", 2, more_references=[more])
    for paths in (write_results(tmp_path, [result]), [tmp_path / "0.json"]):
        found = read_sentences(given := read_given(paths), _table(given))
        assert found is not None
        known = ([one for one in row if one] for row in zip(REFERENCES, more, strict=True))
        pairs = zip(result["beams"]["5"]["hypotheses"], known, strict=True)
        assert found["beams"]["5"]["chrf"] == [[round(sentence_chrf(*pair).score, 1) for pair in pairs]]


def test_a_caseless_results_chrf_is_caseless(tmp_path: Path) -> None:
    """Also beside a file of --save-outputs that was scored with case."""
    result = scored("One", 2, lowercase=True)
    beam = result["beams"]["1"] | {"hypotheses": [line.upper() for line in result["beams"]["1"]["hypotheses"]]}
    beam |= score_text(beam["hypotheses"], REFERENCES, Scoring(lowercase=True))
    result["beams"] = {"1": beam, "5": beam}
    for paths in (write_results(tmp_path, [result]), [tmp_path / "0.json"]):
        found = read_sentences(given := read_given(paths), _table(given))
        assert found is not None
        lower = [line.lower() for line in beam["hypotheses"]]
        expected = [sentence_chrf(line, [other.lower()]) for line, other in zip(lower, REFERENCES, strict=True)]
        assert found["beams"]["5"]["chrf"] == [[round(one.score, 1) for one in expected]]


def test_a_table_gives_its_figures_and_the_results_their_text(files: list[Path], tmp_path: Path) -> None:
    results = [*files[::2]]
    for number, model in enumerate(("Teacher1", "Slow1")):
        write_json(tmp_path / f"{number}.json", risks(model))
    measured = [tmp_path / f"{number}.json" for number in range(2)]
    made = build_table(results, baseline="Baseline", teacher="Teacher", risks=measured, title="Mine")
    write_json(tmp_path / "table.json", made)
    given, alone = read_given([tmp_path / "table.json", *files]), shown([tmp_path / "table.json"])
    assert alone["sentences"] is None and read_sentences(given, given.table) is not None
    computed = _table(read_given([*measured, *results])) or {}
    assert alone["tables"] == tables({**computed, "teacher": "Teacher"})["tables"]
    assert alone["title"] == "Mine" and len(alone["risks"]) == 1
    scores = alone["tables"][0]
    place = [column["label"] for column in scores["columns"]].index("R_llh")
    risky = [row[place][1:] for row in scores["rows"]]
    assert risky == [["2.00", "1.00 to 9.00"], ["–"], ["–"], ["2.00", "1.00 to 9.00"]]


def test_published_tables_are_shown() -> None:
    found = 0
    for path in sorted((ROOT / "results").glob("*/table.json")):
        content = json.loads(path.read_text())
        if "signature" not in content or "sentences" not in content:
            continue  # of scripts/benchmark.sh
        found += 1
        made = tables(given := _table(read_given([path])) or {})
        assert len(made["tables"][0]["rows"]) == len(content["rows"]) and measures(given) and table_facts(given)
    assert found >= 5


def test_gates_and_a_study_are_drawn(tmp_path: Path) -> None:
    study = json.loads((ROOT / "results" / "study_size" / "study.json").read_text())
    study.pop("checksum", None)
    study["measures"] = {"beam 5": "BLEU, beam 5"}
    study["over_lengths"] = study["over_lengths"][:1] + [{"places": [], "scores": {}, "comparisons": {}}] * 3
    (tmp_path / "study.json").write_text(json.dumps(study))
    hybrid = read_given([ROOT / "results" / "hybrid" / "table.json"]).table
    gates = gate_pictures(hybrid or {})
    assert [one.label for one in gates] == ["the gate g", "validation BLEU"]
    assert gates[0].legend[0]["name"] == "g = 0.5"
    made = shown([tmp_path / "study.json"])
    (drawn,) = made["studies"]
    assert [one["label"] for one in drawn["pictures"]] == [
        "BLEU, beam 5", "BLEU, beam 5, by source length at student's width 16"
    ]  # fmt: skip
    assert (
        "Seq-KD and Word-KD cross at 254 (95 % interval 158 to ≥ 256, in 46% of resamples)"
        in drawn["pictures"][0]["note"]
    )
    assert made["title"] == study["title"] and made["tables"] == made["speed"] == []


def test_a_crossing_that_no_resample_has(tmp_path: Path) -> None:
    """Its interval is null in the study.json of an earlier version."""
    study = json.loads((ROOT / "results" / "study_size" / "study.json").read_text())
    study.pop("checksum", None)
    crossing = next(one for pair in study["over_axis"]["comparisons"]["beam 5"] for one in pair["crossings"])
    crossing.update(interval=None, share=0.0)
    (tmp_path / "study.json").write_text(json.dumps(study))
    ((drawn,), place) = shown([tmp_path / "study.json"])["studies"], f"cross at {crossing['at']:.3g}"
    assert any(f"{place} (in 0% of resamples)" in one["note"] for one in drawn["pictures"])


def test_an_old_table_is_compared_with_its_own_baseline() -> None:
    old = json.loads((ROOT / "results" / "f_distill" / "table.json").read_text())
    assert "pairs" not in old
    names = [row["name"] for row in old["rows"]]
    found = pair_tests({**old, "baseline": names[-1]})
    assert len(found) == 2 * (len(names) - 1) and {names[against] for _, against, *_ in found} == {old["baseline"]}


def test_speed_beside_the_teacher_comes_first(files: list[Path]) -> None:
    made = _table(read_given(files))
    assert made is not None
    labels = [one.label for one in measures(made)]
    assert labels[0] == "times as fast as the teacher with beam 5, in batches" and len(labels) == 4
    for row in made["rows"]:
        row["cost"] = [] if row["name"] == "Slow" else row["cost"]
    assert measures(made)[0].label == "sentences a second"


@pytest.mark.parametrize(("teacher", "told"), [("Teacher", False), ("Slow", True)])
def test_figures_beside_another_model_than_the_pages_teacher_are_told(
    files: list[Path], tmp_path: Path, teacher: str, told: bool
) -> None:
    write_json(of_risks := tmp_path / "risks.json", risks("Slow1"))
    given = read_given([*files[::2], of_risks])
    drawn = _content(given, _with_roles(_table(given), None, teacher), files)
    note = "That teacher (SHA-256 Teacher1…) is not the model of the row Slow."
    (costs,) = (one for one in drawn["tables"] if one["title"] == "What decoding costs")
    beside, plain = drawn["speed"][:2], drawn["speed"][2:]
    places = [costs["notes"][0], drawn["risks"][0]["note"], *(one["note"] for one in beside)]
    assert "beside the teacher with beam 5" in costs["notes"][0]
    assert len(plain) == 2 and all((note in text) == told for text in places)
    assert not any(note in one["note"] for one in plain)


def told(files: list[Path], **options: Any) -> str:
    """The error that a report of these files ends with."""
    with pytest.raises(UserError) as error:
        report(files, files[0].parent / "none" / "report.html", **options)
    assert "\n" not in str(error.value) and not (files[0].parent / "none" / "report.html").exists()
    return str(error.value)


def test_errors_name_the_file(files: list[Path], tmp_path: Path) -> None:
    assert "0.jsonl: belongs to no result; give" in told([files[1]])
    assert "1.jsonl: has other translations than each result" in told([files[0], files[3]])
    assert "--teacher 'No one': no such row; the rows are: Teacher, Baseline" in told(files, teacher="No one")
    (text := tmp_path / "text.json").write_text("no json")
    assert "text.json: no result file of fairseq-kd: is not JSON" in told([text])
    (other := tmp_path / "other.json").write_text('{"a": 1}')
    assert "other.json: no result file of fairseq-kd: it is none of evaluate, risks, table, study" in told([other])
    assert "absent.json: cannot be read (No such file" in told([tmp_path / "absent.json"])
    write_json(tmp_path / "risks.json", risks("Slow1"))
    assert "risks.json: risks of no row" in told([tmp_path / "risks.json"])
    write_json(made := tmp_path / "table.json", build_table(files[:4:2]))
    assert "table.json: a second table" in told([made, made])
    assert "risks.json: the table has no risks; make it again" in told([made, tmp_path / "risks.json"])
    assert "'Slow', seed 1: the table does not have this model" in told([made, files[8]])
    again = json.loads(files[0].read_text())
    again["beams"]["5"] = scored("Teacher", 2)["beams"]["5"]  # decoded and scored anew
    (anew := tmp_path / "anew.json").write_text(json.dumps(again))
    assert "'Teacher', seed 1: its bleu with beam 5 is " in (found := told([made, anew, files[2]]))
    assert "in the table; make the table again with fairseq-kd table, or leave out table.json" in found
    again["beams"] = {"1": again["beams"]["1"]}
    anew.write_text(json.dumps(again))
    assert "'Teacher', seed 1: the table has other beams" in told([made, anew])
    (lines := tmp_path / "cut.jsonl").write_text(files[1].read_text().replace('"chrf"', '"chr"', 1))
    assert "cut.jsonl: no result file of fairseq-kd: line 1: beams.1.chrf: is missing" in told([files[0], lines])
    lines.write_text("".join(files[1].read_text().splitlines(keepends=True)[1:]))
    assert "line 1: its row is not 0" in told([files[0], lines])
    with pytest.raises(UserError, match="is a folder"):
        report(files, tmp_path)


def test_other_sources_are_told(files: list[Path], tmp_path: Path) -> None:
    other = write_results(tmp_path, [some_results()[1]], sources=[f"{text} here" for text in SOURCES])
    assert "0.jsonl: has other sources than" in told([*files[:2], *other])


def test_without_bokeh_one_line_says_what_to_install(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bokeh", None)
    assert (
        told(files)
        == "fairseq_kd: error: fairseq-kd report needs bokeh; install the extra: pip install 'fairseq-kd[report]'"
    )


def test_the_command_and_a_test_set_of_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = scored("Alone", 2)
    one |= {"references": REFERENCES[:1], "source_lengths": [3], "teacher_forced": None}
    one["beams"] = {beam: {**found, "hypotheses": found["hypotheses"][:1]} for beam, found in one["beams"].items()}
    paths = write_results(tmp_path, [one], sources=SOURCES[:1])
    cli.main(["report", *map(str, paths), "--output", str(tmp_path / "new" / "page.html")])
    assert "page.html (1." in capsys.readouterr().err
    assert (tmp_path / "new" / "page.html").stat().st_size < 2_000_000


def test_damage_is_told(files: list[Path], tmp_path: Path) -> None:
    made, lines = tmp_path / "table.json", tmp_path / "0.jsonl"
    made.write_text(json.dumps(build_table(files[::2], baseline="Baseline"), indent=1))
    lines.write_bytes(files[1].read_bytes())

    def read_table() -> Any:
        found = _table(read_given([made])) or {}
        return tables(found), [one.values for one in measures(found)], table_facts(found)

    # A damaged digit or word of a file without a checksum may stay unseen; nothing ends in a traceback.
    assert_told("result: table, for a page", [made], read_table, tries=80)
    found = _table(read_given([files[0]]))
    read_lines = lambda: read_sentences(read_given([files[0], lines]), found)  # noqa: E731
    assert_told("result: saved outputs", [lines], read_lines, tries=60)


def test_other_metrics_have_columns() -> None:
    score = {"mean": 30.125, "sd": None}
    beam = {**dict.fromkeys(("bleu", "chrf", "ter", "rougeL"), score), "sentences_per_second": 1.0}
    rows = [{"name": "One", "parameters": 1_000_000, "beams": {"1": beam}}]
    made = score_table({"rows": rows, "signature": {"scores": {}}})
    place = [column["label"] for column in made["columns"]].index("ROUGE-L, beam 1")
    assert made["rows"][0][place][:2] == [30.125, "30.12"]
