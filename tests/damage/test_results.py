"""Damaged result files, of this version and of an earlier one without checksums."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd.diagnose.advice import advise
from fairseq_kd.diagnose.quantities import QUANTITIES
from fairseq_kd.diagnose.study_files import read_studies
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.mutual_risks import _read_made
from fairseq_kd.evaluate.result_shapes import RISKS
from fairseq_kd.report.cost_table import summarise_costs
from fairseq_kd.report.result_files import group_results, read_risks
from fairseq_kd.report.row_summary import summarise_risks
from fairseq_kd.storage.files import write_json
from fairseq_kd.study.axis import Axis
from fairseq_kd.study.build import study
from fairseq_kd.study.points import add_diagnoses, read_points
from tests.support.commands import ROOT
from tests.support.damage import assert_noticed, assert_told, without_checksum
from tests.support.results import scored

OWN = dict.fromkeys(QUANTITIES, 0.5)


def evaluated(folder: Path, at: float = 1) -> list[Path]:
    """Files of two rows, as `fairseq-kd evaluate` writes them."""
    paths = []
    for name, every in (("a", 3), ("b", 5)):
        paths.append(folder / f"{name}{at}.json")
        cost = {"engine": "fairseq", "precision": "float32", "batched": True, "beam": 5, "memory": 3.5}
        cost |= {"sentences_per_second": 9.0, "target_tokens_per_second": 80.0}
        made = scored(name, every, nonzero_parameters=9, cost={"measured": [cost], "sentences": 30, "teacher": None})
        write_json(paths[-1], made)
    return paths


def measured() -> dict[str, Any]:
    """What `fairseq-kd risks` writes."""
    settings = {"teacher": "t", "model": "m", "rows": 30, "samples": 8, "sampling": {"top_k": 0, "seed": 1}}
    settings |= {"data": {"dict": "d"}, "subset": "test"}
    figures = {name: {"mean": 1.5 + place, "interval": [1.0, 9.0]} for place, name in enumerate(RISKS)}
    return {"settings": settings, "risks": figures, "bootstrap": {"samples": 1000, "seed": 1}, "skipped": 0}


def read_scores(paths: list[Path]) -> Callable[[], Any]:
    def read() -> Any:
        rows = group_results(paths)
        return [(row.name, row.results, summarise_costs(row.results)) for row in rows]

    return read


def read_samples(path: Path) -> Callable[[], Any]:
    return lambda: (summarise_risks([*read_risks([path], 30, ["test"]).values()]), read_risks([path], 30, ["test"]))


def write_risks(folder: Path) -> Path:
    write_json(folder / "risks.json", measured())
    return folder / "risks.json"


def write_study(folder: Path) -> Path:
    """Two rows at two places; no picture is drawn."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write_axis", "write_lengths", "write_decoding"):
            patch.setattr(f"fairseq_kd.study.build.{name}", lambda *_: None)
        study({at: evaluated(folder, at) for at in (1, 2)}, Axis("size", "linear"), folder / "study")
    return folder / "study" / "study.json"


def read_advice(path: Path) -> Callable[[], Any]:
    def read() -> Any:
        found = read_studies([path])
        return advise(found, OWN) | {"studies": [{key: one[key] for key in one if key != "sha256"} for one in found]}

    return read


def write_diagnosis(folder: Path) -> Path:
    made = {"teacher": "t", "quantities": dict.fromkeys(QUANTITIES, 0.5), "signature": {"teacher": "a1"}}
    write_json(folder / "diagnosis.json", made)
    return folder / "diagnosis.json"


def read_diagnosis(path: Path) -> Callable[[], Any]:
    points = read_points({1: evaluated(path.parent)})

    def read() -> Any:
        add_diagnoses(points, {1: path}, "a")
        return points[0].diagnosis

    return read


Kind = tuple[list[Path], Callable[[], Any]]
KINDS: dict[str, Callable[[Path], Kind]] = {
    "scores": lambda folder: (paths := evaluated(folder), read_scores(paths)),
    "risks": lambda folder: ([path := write_risks(folder)], read_samples(path)),
    "study": lambda folder: ([path := write_study(folder)], read_advice(path)),
    "diagnosis": lambda folder: ([path := write_diagnosis(folder)], read_diagnosis(path)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_noticed(kind: str, tmp_path: Path) -> None:
    assert_noticed(f"result: {kind}", *KINDS[kind](tmp_path), tries=150)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_checksum_there_is_no_traceback(kind: str, tmp_path: Path) -> None:
    paths, read = KINDS[kind](tmp_path)
    for path in paths:
        without_checksum(path)
    assert_told(f"result: {kind}, of an earlier version", paths, read, tries=150)


def test_risks_run_again_measure_again_what_is_damaged(tmp_path: Path) -> None:
    path, made = write_risks(tmp_path), measured()
    assert_noticed("risks, run again", [path], lambda: _read_made(path, made["settings"]) or made, tries=200, least=0)


def test_the_error_names_the_key(tmp_path: Path) -> None:
    (path, _) = evaluated(tmp_path)
    content = json.loads(path.read_text())
    del content["checksum"]
    content["beams"]["5"]["bleu"]["score"] = "high"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"a1\.json: .*beams\.5\.bleu\.score: 'high' is no finite number"):
        group_results([path])


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"a":' * 40 + "1" + "}" * 40, '{"a": ' + "9" * 10_000 + "}"])
def test_deep_and_huge_values_are_refused(deep: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(deep)
    with pytest.raises(UserError, match="no result of fairseq-kd evaluate"):
        group_results([tmp_path / "a.json"])


def test_published_results_still_read() -> None:
    assert len(read_studies(sorted((ROOT / "results").glob("study_*/study.json")))) >= 2
