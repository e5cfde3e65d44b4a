"""What `fairseq-kd diagnose` reads from studies over both kinds of noise, as their configs describe them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairseq_kd import cli
from fairseq_kd.diagnose.advice import advise
from fairseq_kd.diagnose.study_files import read_studies
from tests.support.commands import ROOT
from tests.support.results import scored

TASK = {
    "size_ratio": 0.2,
    "token_entropy": 1.0,
    "teacher_dist": 0.5,
    "mode_mass": 0.3,
    "gap": 20.0,
    "source_length": 12.0,
}
# Every so-many-th sentence is wrong: Seq-KD is the best over misaligned pairs, Word-KD over noisy words.
LINES = {
    "noise": {"Word-KD": 2, "Seq-KD": 30, "Hybrid": 3},
    "token_noise": {"Word-KD": 30, "Seq-KD": 2, "Hybrid": 3},
}
# The entropy of the teacher at each point: what noise changes.
ENTROPIES = {"noise": [0.5, 1, 2, 4], "token_noise": [0.7, 1.4, 2.8]}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The studies of configs/study_NAME.yaml, as the advice reads them."""
    return {name: make(name, tmp_path_factory.mktemp(name)) for name in LINES}


def make(name: str, folder: Path) -> dict[str, Any]:
    config = ROOT / "configs" / f"study_{name}.yaml"
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    files, diagnoses = [], []
    for at, entropy in zip(content["points"], ENTROPIES[name], strict=True):
        found = {"quantities": TASK | {"token_entropy": entropy}, "signature": {"teacher": "x"}}
        (folder / f"{at}.json").write_text(json.dumps(found))
        diagnoses.append(f"{at}={folder / f'{at}.json'}")
        for line, every in LINES[name].items():
            path = folder / f"{at}.{line}.json"
            path.write_text(json.dumps(scored(line, every)))
            files.append(f"{at}={path}")
    axis = ["--axis", content["axis"]["label"], "--scale", content["axis"]["scale"], "--title", content["title"]]
    more = ["--config", str(config), "--diagnosis", *diagnoses, "--output", str(folder / "study")]
    cli.main(["study", *files, *axis, *more])
    return read_studies([folder / "study" / "study.json"])[0]


def test_a_study_over_token_noise_speaks(studies: dict[str, dict[str, Any]]) -> None:
    found = advise([studies["token_noise"]], TASK)
    assert (found["line"], found["certainty"]) == ("Word-KD", "clear")
    assert found["method"]["level"] == "token-level" and "--criterion token_kd" in found["method"]["options"]
    (told,) = found["studies"]
    assert told["coordinate"] == "token_entropy" and told["axis"] == "noise in the source: words drawn to swap (%)"
    # The two neighbours of this task. Teacher-forced scores are no evidence.
    assert "teacher_forced_bleu" in studies["token_noise"]["measures"]
    evidence = [(item["at"], item["measure"]) for item in told["evidence"]]
    assert evidence == [(at, measure) for at in (0, 50) for measure in ("BLEU, greedy", "BLEU, beam 5")]


def test_a_study_over_misaligned_pairs_speaks(studies: dict[str, dict[str, Any]]) -> None:
    found = advise([studies["noise"]], TASK)
    assert (found["line"], found["certainty"]) == ("Seq-KD", "clear")
    assert {item["at"] for item in found["studies"][0]["evidence"]} == {10}  # this task lies right there


def test_kinds_of_noise_that_disagree_give_no_answer(studies: dict[str, dict[str, Any]]) -> None:
    found = advise(list(studies.values()), TASK)
    assert found["certainty"] == "not known" and "Seq-KD and Word-KD are each clearly best" in found["reason"]


def test_noise_that_changes_nothing_measured_is_no_evidence(studies: dict[str, dict[str, Any]]) -> None:
    weak = json.loads(json.dumps(studies["token_noise"]))
    for point, entropy in zip(weak["points"], (1, 1.1, 1.2), strict=True):
        point["diagnosis"]["token_entropy"] = entropy
    found = advise([weak], TASK)
    assert found["certainty"] == "not known" and "no measured quantity" in found["studies"][0]["reason"]
