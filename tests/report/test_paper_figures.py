"""A paper's figures from an experiment's YAML, beside those measured."""

import re

import pytest
import yaml

from fairseq_kd.errors import UserError
from fairseq_kd.report.paper_figures import read_paper
from tests.support.results import BAD, result


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


def test_without_figures_there_is_no_section(table, tmp_path) -> None:
    config = tmp_path / "experiment.yaml"
    config.write_text(yaml.safe_dump({"rows": {"a": {"name": "a"}}, "paper_teacher": {1: {"bleu": 35.5}}}))
    for options in ((), ("--config", str(config))):
        text, content, _ = table([result("a", 1, BAD)], *options)
        assert "paper" not in text and content["paper"] == []


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        (30, "row 'word_kd', paper: give a mapping"),
        ({"five": {"bleu": 3}}, "row 'word_kd', paper, five: is no beam size"),
        ({True: {"bleu": 3}}, "row 'word_kd', paper, True: is no beam size"),
        ({0: {"bleu": 3}}, "row 'word_kd', paper, 0: is no beam size"),
        ({5: 30}, "row 'word_kd', paper, 5: give a mapping from bleu, chrf, ter to a number"),
        ({5: {}}, "row 'word_kd', paper, 5: give a mapping"),
        ({5: {"BLEU": 30}}, "row 'word_kd', paper, 5, BLEU: is no measure; give bleu, chrf, ter"),
        ({5: {"bleu": "30 %"}}, "row 'word_kd', paper, 5, bleu: '30 %' is no number"),
        ({5: {"bleu": True}}, "row 'word_kd', paper, 5, bleu: True is no number"),
        ({5: {"bleu": float("nan")}}, "row 'word_kd', paper, 5, bleu: nan is no number"),
        ({"teacher_forced": {"ter": 3}}, "row 'word_kd', paper, teacher_forced, ter: is no measure; give bleu"),
    ],
)
def test_malformed_figures_are_one_line(table, tmp_path, figures, message) -> None:
    config = tmp_path / "experiment.yaml"
    config.write_text(yaml.safe_dump({"rows": {"word_kd": {"name": "Word-KD", "paper": figures}}}))
    prefix = f"fairseq_kd: error: --config {re.escape(str(config))}"
    with pytest.raises(UserError, match=f"^{prefix}: {message}[^\n]*$"):
        table([result("Word-KD", 1, BAD)], "--config", str(config))
    assert not (tmp_path / "made").exists()
    config.write_text(yaml.safe_dump({"paper_teacher": figures}))
    of_teacher = message.replace("row 'word_kd', paper", "paper_teacher")
    with pytest.raises(UserError, match=f"--config .*: {of_teacher}"):
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
        ("rows: [1]", "rows: a list is no mapping"),
        ("rows: {a: 3}", "rows.a: 3 is no mapping"),
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
