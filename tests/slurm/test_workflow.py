"""An experiment on SLURM, disturbed in several ways, has the table of a run on one machine."""

import json
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.slurm.experiment import EXPERIMENT, ON_SLURM, Experiment, figures
from tests.slurm.local_slurm import LocalSlurm
from tests.support.commands import BIN, ROOT, environment
from tests.support.kills import Moment, kill_and_run_again

pytestmark = [pytest.mark.slurm, pytest.mark.integration]


POINTS = {"0.1": "--dropout 0.1 --lr 0.003", "0.3": "--dropout 0.3 --lr 0.003"}


def begun(local: Experiment, folder: Path) -> Experiment:
    """A copy of an experiment whose teacher is trained and scored, and no student yet."""
    copy = Experiment(folder)
    shutil.copytree(local.runs, copy.runs)
    for name in ("distilled", "students", "table"):
        shutil.rmtree(copy.runs / name)
    marks = [mark for mark in (copy.runs / "done").iterdir() if mark.name not in ("raw", "data", "teacher")]
    for path in (*marks, *(copy.runs / "scores").glob("seq_kd*"), copy.runs / "workflow.log"):
        path.unlink()
    return copy


def clone_with_study(folder: Path) -> Path:
    """The scripts, and configs/study_small.yaml."""
    clone = folder / "clone"
    shutil.copytree(ROOT / "scripts", clone / "scripts")
    (clone / ".venv").symlink_to(BIN.parent)
    (clone / "scripts" / "setup.sh").write_text("# The environment is the tests' own: nothing is installed into it.\n")
    study = {key: value for key, value in EXPERIMENT.items() if key not in ("name", "student")}
    points = {float(place): {"student": options} for place, options in POINTS.items()}
    study |= {"axis": {"label": "dropout", "scale": "linear"}, "points": points}
    (clone / "configs").mkdir()
    (clone / "configs" / "study_small.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    return clone


def wait_for(found: Callable[[], str], head: subprocess.Popen) -> str:
    """What is found at last, while a run lasts."""
    while head.poll() is None:
        if told := found():
            return told
        time.sleep(0.2)
    raise AssertionError(head.communicate())


def test_lost_jobs(local: Experiment, slurm: LocalSlurm, tmp_path: Path) -> None:
    """One of four shards is cancelled, the others are preempted, and the controller is away for a while."""
    experiment = Experiment(tmp_path)
    head = experiment.start(*ON_SLURM, "--retries", "0")
    second = wait_for(lambda: slurm.find("rule_shard_wildcards_distilled_2-of-4"), head)
    slurm.run("scancel", second)
    wait_for(lambda: slurm.find("rule_shard_wildcards_distilled_3-of-4"), head)
    slurm.preempt()
    slurm.stop_controller()
    time.sleep(2)
    slurm.start_controller()
    output, errors = head.communicate()
    assert (head.returncode, output) == (1, "")
    last = errors.splitlines()[-1]
    found = re.fullmatch(
        r"run\.sh: error: stopped: shard 2 of 4 of the teacher's translations \(log: (\S+\.log)\): (.*) "
        r"\(all output: \S+/workflow\.log\)\. Run it again to go on",
        last,
    )
    assert found and Path(found[1]).name == f"{second}.log" and "CANCELLED" in found[2], errors
    assert f"JOB {second} " in Path(found[1]).read_text()
    assert {path.name for path in (experiment.runs / "done").glob("distilled.*")} == {
        f"distilled.{number}-of-4" for number in (1, 3, 4)
    }

    again = experiment.run(*ON_SLURM)
    assert again.returncode == 0, again.stderr
    assert "shard 2 of 4 of the teacher's translations" in again.stderr and "shard 1 of 4" not in again.stderr
    assert experiment.outputs() == local.outputs() and len(local.outputs()) == 4
    assert experiment.figures() == local.figures() and len(local.figures()) == 3


def running(slurm: LocalSlurm, rule: str) -> Callable[[], bool]:
    """Whether a job of a rule is running; it looks five times a second at most."""

    def look() -> bool:
        time.sleep(0.2)
        return bool(slurm.find(f"rule_{rule}"))

    return look


@pytest.mark.slow
def test_killed_heads(local: Experiment, slurm: LocalSlurm, tmp_path: Path) -> None:
    """The run itself is killed at random moments. The next one cancels the jobs that were left, and goes on."""
    experiment = begun(local, tmp_path)
    draw = random.Random(7)
    moments = [Moment(running(slurm, rule), 5 * draw.random()) for rule in ("shard", "distilled", "student")]
    command = experiment.command(*ON_SLURM, "--set-scatter", "decode=2")
    again = kill_and_run_again(command, moments)
    assert "run.sh: ending the SLURM jobs of a run that was killed: " in again.stderr
    assert not slurm.jobs()
    assert experiment.outputs() == local.outputs()
    assert experiment.figures() == local.figures() and len(local.figures()) == 3


@pytest.mark.slow
def test_a_study(local: Experiment, slurm: LocalSlurm, tmp_path: Path) -> None:
    """scripts/study.sh through SLURM: two points, whose student alone differs. The first one's is the experiment's."""
    clone = clone_with_study(tmp_path)
    runs = clone / "runs" / "study_small"
    for name in ("raw", "data", "teacher", "distilled"):
        shutil.copytree(local.runs / name, runs / "common" / name)
    for point in POINTS:
        (runs / point / "done").mkdir(parents=True)
        for mark in ("raw", "data", "teacher", *(f"distilled.{number}-of-4" for number in range(1, 5)), "distilled"):
            (runs / point / "done" / mark).touch()
    command = ["bash", str(clone / "scripts" / "study.sh"), "small", *ON_SLURM]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    study = json.loads((clone / "results" / "study_small" / "study.json").read_text())
    assert study["over_axis"]["places"] == [0.1, 0.3]
    folders = (local.runs, runs / "0.1", runs / "0.3")
    here, first, second = (figures(folder / "scores" / "seq_kd.1.json") for folder in folders)
    assert here == first != second
    assert "has been submitted with SLURM jobid" in (runs / "0.3" / "workflow.log").read_text()
