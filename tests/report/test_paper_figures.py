"""A paper's figures from an experiment's YAML, beside those measured."""

import re

import pytest
import yaml

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scoring.scores import score_text
from fairseq_kd.report.paper_figures import beside_paper, paper_section, read_paper
from tests.support.results import BAD, REFERENCES, result


def with_forced(name: str, seed: int, bleu: float) -> dict:
    return result(name, seed, BAD, teacher_forced={"accuracy": 50.0, "bleu": {"score": bleu, "signature": "s"}})


CONFIG = {
    "seeds": [1],
    "rows": {
        "a": {"name": "a|b", "paper": {5: {"bleu": 30, "ter": 41.25}, 4: {"bleu": 2}, "teacher_forced": {"bleu": 60}}},
        "other": {"name": "Other", "paper": {1: {"chrf": 50}}},
        "absent": {"name": "Absent", "paper": {1: {"chrf": 50}}},
        "plain": {"name": "Plain"},
    },
    "paper_teacher": {1: {"bleu": 35.5}},
}


def test_the_figures_stand_beside_those_measured(table, tmp_path) -> None:
    config = tmp_path / "experiment.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    runs = [with_forced("a|b", 1, 61.0), with_forced("a|b", 2, 62.0), result("Other", 1, BAD), result("Big", 1, BAD)]
    text, content, _ = table(runs, "--config", str(config), "--teacher", "Big")
    bleu = runs[0]["beams"]["5"]["bleu"]["score"]
    ter = runs[0]["beams"]["5"]["ter"]["score"]
    chrf = runs[0]["beams"]["1"]["chrf"]["score"]
    expected = {
        ("a|b", "5", "bleu"): (30, bleu),
        ("a|b", "5", "ter"): (41.25, ter),
        ("a|b", "4", "bleu"): (2, None),
        ("a|b", "teacher_forced", "bleu"): (60, 61.5),
        ("Other", "1", "chrf"): (50, chrf),
        ("Big", "1", "bleu"): (35.5, bleu),
    }
    found = {(line["row"], line["beam"], line["measure"]): line for line in content["paper"]}
    assert set(found) == set(expected)
    for key, (paper, measured) in expected.items():
        assert found[key]["paper"] == paper and found[key]["measured"] == pytest.approx(measured)
        difference = None if measured is None else measured - paper
        assert found[key]["difference"] == pytest.approx(difference)
    section = text.split("## Beside the paper's figures")[1]
    assert "| row | measure | paper | measured | difference |" in section and "Plain" not in section
    assert f"| a\\|b | BLEU, beam 5 | 30 | {bleu:.2f} | {bleu - 30:+.2f} |" in section
    assert f"| a\\|b | TER, beam 5 | 41.25 | {ter:.2f} | {ter - 41.25:+.2f} |" in section
    assert "| a\\|b | BLEU, beam 4 | 2 | – | – |" in section
    assert "| a\\|b | teacher-forced BLEU | 60 | 61.50 | +1.50 |" in section


def test_a_papers_risks_stand_beside_those_measured(table, tmp_path) -> None:
    """The figures of Wen et al. 2023, Table 3, in a row's `paper`."""
    lines = beside_paper(
        [{"name": "JS", "beams": {}, "risks": {"coverage": {"mean": 50.5}}}],
        {"JS": {"risks": {"coverage": 48.0, "likelihood": 30.0}}},
    )
    found = {line["measure"]: (line["paper"], line["measured"], line["difference"]) for line in lines}
    assert found == {"coverage": (48.0, 50.5, 2.5), "likelihood": (30.0, None, None)}
    section = "\n".join(paper_section({"paper": lines}))
    assert "| JS | coverage risk | 48 | 50.50 | +2.50 |" in section
    assert "| JS | likelihood risk | 30 | – | – |" in section


def test_without_figures_there_is_no_section(table, tmp_path) -> None:
    config = tmp_path / "experiment.yaml"
    config.write_text(yaml.safe_dump({"rows": {"a": {"name": "a"}}, "paper_teacher": {1: {"bleu": 35.5}}}))
    for options in ((), ("--config", str(config))):
        text, content, _ = table([result("a", 1, BAD)], *options)
        assert "paper" not in text and content["paper"] == []


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        (30, "line 5, PLACE: give a mapping from beam sizes"),
        ({"five": {"bleu": 3}}, "line 6, PLACE.five: is no beam size"),
        ({True: {"bleu": 3}}, "line 5, PLACE.True: is no beam size"),
        ({0: {"bleu": 3}}, "line 6, PLACE.0: is no beam size"),
        ({5: 30}, "line 6, PLACE.5: give a mapping from bleu, chrf, ter"),
        ({5: {}}, "line 6, PLACE.5: give a mapping"),
        ({5: {"BLEU": 30}}, "line 7, PLACE.5.BLEU: is no measure; give bleu, chrf, ter"),
        ({4: {"bleu": 3}, 5: {"bleu": "30 %"}}, "line 9, PLACE.5.bleu: '30 %' is no finite number"),
        ({5: {"bleu": True}}, "line 7, PLACE.5.bleu: True is no finite number"),
        ({5: {"bleu": float("nan")}}, "line 7, PLACE.5.bleu: nan is no finite number"),
        ({"teacher_forced": {"ter": 3}}, "line 7, PLACE.teacher_forced.ter: is no measure; give bleu"),
        ({"risks": {"bleu": 3}}, "line 7, PLACE.risks.bleu: is no measure; give likelihood, coverage"),
    ],
)
def test_malformed_figures_are_one_line(table, tmp_path, figures, message) -> None:
    config = tmp_path / "experiment.yaml"
    config.write_text("# a comment\n" + yaml.safe_dump({"rows": {"word_kd": {"name": "Word-KD", "paper": figures}}}))
    told = message.replace("PLACE", "rows.word_kd.paper")
    prefix = f"fairseq_kd: error: --config {re.escape(str(config))}"
    with pytest.raises(UserError, match=f"^{prefix}: {told}[^\n]*$"):
        table([result("Word-KD", 1, BAD)], "--config", str(config))
    assert not (tmp_path / "made").exists()
    config.write_text(yaml.safe_dump({"paper_teacher": figures}))
    with pytest.raises(UserError, match=r"--config .*: line \d, paper_teacher"):
        read_paper(config, None)


@pytest.mark.parametrize("content", [b"rows: [", b"\xff\xfe\xff"])
def test_what_is_no_yaml_is_one_line(tmp_path, content) -> None:
    config = tmp_path / "experiment.yaml"
    config.write_bytes(content)
    with pytest.raises(UserError, match="is not YAML"):
        read_paper(config, None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "the whole file: None is no mapping"),
        ("[1]", "the whole file: a list is no mapping"),
        ("rows: [1]", "line 1, rows: a list is no mapping"),
        ("rows: {a: 3}", "line 1, rows.a: 3 is no mapping"),
    ],
)
def test_other_yaml_is_told_with_its_key(tmp_path, content, told) -> None:
    config = tmp_path / "experiment.yaml"
    config.write_text(content)
    with pytest.raises(UserError, match=f"experiment.yaml: {told}"):
        read_paper(config, "Teacher")


def test_an_experiment_may_have_no_figures(tmp_path) -> None:
    config = tmp_path / "experiment.yaml"
    config.write_text("seeds: [1]")
    assert read_paper(config, "Teacher") == {}


def test_other_metrics_have_a_section_and_stand_beside_the_papers(table, tmp_path) -> None:
    """Those of `fairseq-kd evaluate --metrics`: Wen et al. 2023 report ROUGE of summaries, short BLEU of dialogues."""
    runs = [result("A", seed, BAD) for seed in (1, 2)]
    for seed, run in enumerate(runs):
        run["beams"] = {
            beam: {**found, "rougeL": {"score": 30.0 + seed, "signature": "rouge-score 0.1.2"}}
            for beam, found in run["beams"].items()
        }
    config = tmp_path / "experiment.yaml"
    config.write_text("rows: {a: {name: A, paper: {5: {rougeL: 34.03}}}}")
    text, content, _ = table(runs, "--config", str(config))
    section = text.split("## Other metrics")[1].split("##")[0]
    assert "| row | ROUGE-L, beam 1 | ROUGE-L, beam 5 |" in section and "| A | 30.50 ± 0.71 | 30.50 ± 0.71 |" in section
    assert "- ROUGE-L: `rouge-score 0.1.2`" in section
    assert content["rows"][0]["beams"]["5"]["rougeL"]["values"] == [30.0, 31.0]
    assert "| A | ROUGE-L, beam 5 | 34.03 | 30.50 | -3.53 |" in text
    with pytest.raises(UserError, match="scored in another way"):
        table([*runs, result("B", 1, BAD)])


def test_several_references_count_in_the_bootstrap(table) -> None:
    """The interval and the p of a table are of the BLEU that it shows."""
    more = [line.replace("brown", "dark") for line in REFERENCES]
    lines = [line.replace("brown", "dark") if row % 2 else line for row, line in enumerate(BAD)]
    one, several = result("A", 1, lines), result("A", 1, lines, more_references=[more])
    for found in several["beams"].values():
        found |= score_text(lines, REFERENCES, more=[more])
    scores = []
    for made in (one, several):
        row = table([made])[1]["rows"][0]["beams"]["5"]["bleu"]
        scores.append((row["mean"], row["interval"]))
    assert scores[1][0] > scores[0][0] and scores[1][1] != scores[0][1]
    with pytest.raises(UserError, match="its more_references differ"):
        table([one, {**several, "seed": 2}])
