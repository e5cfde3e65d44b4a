"""The GPU check on a machine without a GPU: every step with tiny sizes, and its verdicts."""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from fairseq_kd.benchmark.calls import decoding_calls, engines
from fairseq_kd.benchmark.gpu.check import check
from fairseq_kd.benchmark.gpu.decoding_paths import decoding_paths
from fairseq_kd.benchmark.gpu.losses import Inputs, draw, losses, measure_losses
from fairseq_kd.benchmark.gpu.markdown import markdown
from fairseq_kd.benchmark.gpu.path import GpuPath, Material, Measured
from fairseq_kd.benchmark.gpu.paths import outcome
from fairseq_kd.benchmark.gpu.training_paths import training_options
from fairseq_kd.decoding.ctranslate2.engine import loadable
from fairseq_kd.errors import UserError
from tests.support.scripts import refused, shell

SCRIPT = "gpu_check.sh"


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: run scripts/gpu_check.sh itself")
def test_a_dry_run_takes_every_step(tmp_path: Path) -> None:
    done = shell(SCRIPT, "--dry-run", "--output", tmp_path / "gpu check", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "gpu check" / "table.json").read_text())
    assert done.stdout == markdown(table) + "\n" and "A dry run" in done.stdout
    names = [line["name"] for line in table["paths"]]
    assert len(names) == len(set(names))
    assert {"token_kd", "f_distill js, rollouts ahead", "decode, sampling"} <= {*names}
    assert all(line["ok"] for line in table["paths"])
    assert not any("reason" in line for part in ("losses", "training") for line in table[part])
    assert {row["section"] for row in table["rows"]} == {"Training step", "Decoding"}
    assert (tmp_path / "gpu check" / "table.png").stat().st_size > 1000


@pytest.mark.parametrize("moved", ["teacher", "data"])
def test_its_own_work_files_are_no_teacher(moved: str, tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    """It deletes them when it starts."""
    given = {"teacher": tiny_teacher.parent, "data": tiny_corpus}
    given[moved] = Path(shutil.copytree(given[moved], tmp_path / "gpu_check.work" / moved))
    before = sorted(given[moved].iterdir())
    with pytest.raises(UserError, match=f"{moved}.*: the check begins by deleting .*gpu_check.work; move it elsewhere"):
        check(tmp_path, str(given["teacher"] / tiny_teacher.name), str(given["data"]), dry_run=True, parts=())
    assert sorted(given[moved].iterdir()) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_it_says_what_does_go(tmp_path: Path) -> None:
    assert "--dry-run" in refused(SCRIPT, "--output", tmp_path, folder=tmp_path)
    assert not (tmp_path / "table.md").exists()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: run scripts/gpu_check.sh itself")
def test_one_part_is_measured_alone(tmp_path: Path) -> None:
    done = shell(SCRIPT, "--dry-run", "--only", "losses", "--output", tmp_path, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "table.json").read_text())
    assert list(table["seconds"]) == ["losses"] and not {"paths", "training", "rows"} & {*table}
    assert "Losses:" in done.stdout and "Paths:" not in done.stdout


def test_without_ctranslate2_fairseq_is_checked_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)  # importing it fails
    given = Material("none.pt", "none", tmp_path, gpu=True)
    with ThreadPoolExecutor() as pool:  # the CPU's part fails at once, and nothing asks for it
        names = [path.name for path in decoding_paths(given, pool)]
    assert names == ["decode, fairseq", "evaluate, fairseq float32", "decode, sampling"]
    assert not any("ahead" in name for name in training_options(given))
    assert [call.name for call in decoding_calls("none.pt", "none", tmp_path)] == ["fairseq, float32"]
    table = {"dry_run": False, "engines": list(engines()), "seconds": {}, "teacher": "0" * 64, "commit": None}
    assert "CTranslate2 is not installed" in markdown({**table, "versions": {}, "machine": {}})


def test_a_part_has_a_folder_of_its_own(tmp_path: Path) -> None:
    assert "--only needs --output" in refused(SCRIPT, "--only", "losses", folder=tmp_path)


@pytest.mark.slow
def test_mistakes_are_one_line(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    assert refused(SCRIPT, "--output", folder=tmp_path) == "gpu_check.sh: error: --output needs a folder"
    words = ("--dry-run", "--output", tmp_path / "new")
    assert "none.pt: no such file" in refused(SCRIPT, *words, tmp_path / "none.pt", tiny_corpus, folder=tmp_path)
    line = refused(SCRIPT, *words, tiny_teacher, tmp_path / "none", folder=tmp_path)
    assert line.startswith("fairseq_kd: error: ") and str(tmp_path / "none") in line


def test_a_path_fails_beyond_its_limit_and_where_it_breaks() -> None:
    def breaks() -> Measured:
        raise UserError("no such thing")

    assert outcome(GpuPath("near", 0.1, lambda: Measured(0.1, "")))["ok"]
    assert not outcome(GpuPath("far", 0.1, lambda: Measured(0.11, "")))["ok"]
    assert not outcome(GpuPath("nan", 0.1, lambda: Measured(float("nan"), "")))["ok"]
    assert outcome(GpuPath("broken", 0.1, breaks)) == {
        **{"name": "broken", "limit": 0.1, "ok": False},
        "reason": "no such thing",
    }


def test_the_losses_that_are_compared_are_the_same_loss() -> None:
    given = draw(vocabulary=50, tokens=20, width=8, device="cpu", dtype=torch.float64)
    for entries in losses("cpu").values():
        first = values(entries["dense"][0], given)
        for loss, _ in entries.values():
            for one, other in zip(values(loss, given), first, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def values(loss, given: Inputs) -> list[torch.Tensor]:
    """The loss and both gradients."""
    given.features.grad = given.weight.grad = None
    value = loss(given)
    value.backward()
    return [value.detach(), given.features.grad.clone(), given.weight.grad.clone()]


def test_an_error_of_bfloat16_is_measured() -> None:
    lines = measure_losses(vocabulary=50, tokens=20, width=8, device="cpu", steps=1)
    assert all(1e-4 < line["error"] < 2e-2 for line in lines)


def test_a_library_that_is_missing_is_seen() -> None:
    assert loadable("libc.so.6") and not loadable("libnone.so.12")
