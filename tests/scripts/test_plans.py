"""What the workflow plans for an experiment of a few rows: a dry run starts nothing."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import ROOT, run_command
from tests.support.experiments import small_experiment
from tests.support.scripts import shell

pytest.importorskip("snakemake", reason="Snakemake 9 needs Python 3.11")


def rows(**more: dict[str, Any]) -> dict[str, Any]:
    """Rows on gold text, each named by its key; ``more`` has further keys of each."""
    plain = {"data": "gold", "options": "--criterion fused_cross_entropy"}
    return {key: plain | {"name": key.capitalize()} | own for key, own in more.items()}


def plan(folder: Path, *options: str, **changes: Any) -> str:
    """What Snakemake prints of its jobs and their commands."""
    return workflow(folder, "-n", "-p", *options, **changes)


def workflow(folder: Path, *options: str, **changes: Any) -> str:
    """What Snakemake prints."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(small_experiment("small", 1, **changes), sort_keys=False))
    words = ["--snakefile", ROOT / "scripts" / "Snakefile", "--configfile", path, "--directory", folder, "--cores", "2"]
    done = run_command("snakemake", *words, *options)
    return done.stdout + done.stderr


def test_a_row_is_trained_with_seeds_of_its_own(tmp_path: Path) -> None:
    own = rows(one={}, two={"seeds": [7]}, three={"seeds": [2, 9]})
    planned = plan(tmp_path, seeds=[1, 2], baseline="Two", rows=own)
    trained = re.findall(r"train\.sh students/(\S+) data/data-bin --seed (\d+) ", planned)
    assert sorted(trained) == [("one.1", "1"), ("one.2", "2"), ("three.2", "2"), ("three.9", "9"), ("two.7", "7")]
    (table,) = re.findall("fairseq-kd table (.*) --training-log", planned)
    # In the order of the seeds that all rows share
    runs = ("teacher", "one.1", "one.2", "three.2", "two.7", "three.9")
    assert table.split() == [f"scores/{run}.json" for run in runs]


def waits_for(planned: str, job: str) -> set[str]:
    """The inputs of the job that leaves the mark ``job``."""
    (found,) = re.findall(rf"^    input: (.*)\n    output: done/{re.escape(job)}$", planned, re.MULTILINE)
    return {one.removeprefix("done/") for one in found.split(", ")}


def test_a_row_waits_for_what_its_options_name(tmp_path: Path) -> None:
    """Keys with a hyphen or a dot, several teachers joined by a colon, and = before a value."""
    teachers = ":".join(f"students/{run}/checkpoint_best.pt" for run in ("word-kd.1", "a.b.1"))
    options = f"--criterion token_kd --teacher-path={teachers} --teacher-data data/data-bin:samples/data-bin"
    own = rows(last={"options": options}, **{"word-kd": {}, "a.b": {"seeds": [1, 2]}, "axb": {}})
    planned = plan(tmp_path, baseline="Last", rows=own)
    assert waits_for(planned, "last.1") == {"data", "teacher", "samples", "word-kd.1", "a.b.1"}
    assert waits_for(planned, "axb.1") == {"data", "teacher"}


def test_a_row_waits_for_paths_in_quotes_and_for_those_of_all_rows(tmp_path: Path) -> None:
    options = (
        "--criterion token_kd --teacher-path 'students/one.1/checkpoint_best.pt' --teacher-data \"samples/data-bin\""
    )
    own = rows(one={"options": "--teacher-cache distilled/data-bin --criterion token_kd"}, two={"options": options})
    more = {"student": "--dropout 0.1 --teacher-cache caches/gold", "cache": {"gold": "--top-k 8"}}
    planned = plan(tmp_path, baseline="Two", rows=own, **more)
    assert waits_for(planned, "one.1") == {"data", "teacher", "distilled", "gold.cache"}
    assert waits_for(planned, "two.1") == {"data", "teacher", "samples", "one.1", "gold.cache"}


def test_a_study_over_teachers_shares_no_teacher(tmp_path: Path) -> None:
    points = {1: {"teacher_vocabulary": 90}, 2: {"teacher_vocabulary": 120}}
    keys = small_experiment("small", 1, axis={"label": "Subwords", "scale": "linear"}, points=points)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(keys, sort_keys=False))
    done = shell("run.sh", "--output", "out", "config.yaml", "-n", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    links = {path.name for path in (tmp_path / "out" / "runs" / "small" / "1").iterdir() if path.is_symlink()}
    assert links == {"raw", "data"}


@pytest.mark.parametrize("given", [["--config", "beams=3"], ["--config=beams=3"], ["-C", "beams=3", "title=x"]])
def test_keys_that_are_replaced_for_a_run_of_a_study(given: list[str], tmp_path: Path) -> None:
    """Of several --config Snakemake takes the last alone, and the script gives one too."""
    keys = small_experiment(
        "small", 1, axis={"label": "Dropout", "scale": "linear"}, points={1: {"student": "--dropout 0.7"}}
    )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(keys, sort_keys=False))
    done = shell("run.sh", "config.yaml", "-n", "-p", *given, "--cores", "1", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--dropout 0.7" in done.stdout + done.stderr and "--beam 3" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "given", [["--config", "beams=3", "name=other"], ["--config=name=other"], ["-C", "name=other"]]
)
def test_the_name_of_a_run_is_that_of_the_file(given: list[str], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(small_experiment("small", 1), sort_keys=False))
    done = shell("run.sh", "config.yaml", "-n", *given, folder=tmp_path)
    assert done.returncode == 1, done.stdout
    told = "run.sh: error: --config name=other: the run is in runs/small; change the key in the file"
    assert done.stderr.splitlines()[-1] == told


def test_lists_and_maps_given_in_the_command(tmp_path: Path) -> None:
    """Snakemake reads them, but leaves the numbers and truth values in them as text."""
    model = tmp_path / "checkpoint.pt"
    given = ["seeds=[3]", f"ready_teacher={{model: {model}, scored: false}}", "rows={seq_kd: {seeds: [4, 5]}}"]
    planned = plan(tmp_path, "--config", *given)
    trained = re.findall(r"train\.sh students/(\S+) \S+ --seed (\d+) ", planned)
    assert sorted(trained) == [("seq_kd.4", "4"), ("seq_kd.5", "5")]
    assert "scores/teacher.json" not in planned


@pytest.mark.parametrize("point", ["1", "1e-3"])
def test_a_point_of_a_study(point: str, tmp_path: Path) -> None:
    """One without keys, and one that YAML reads as text and Snakemake's --config as a number."""
    points = {1: None, "1e-3": {"student": "--dropout 0.7"}}
    axis = {"label": "Size", "scale": "log"}
    planned = plan(tmp_path, "--config", f"point={point}", axis=axis, points=points)
    assert ("--dropout 0.7" in planned) == (point == "1e-3")


def test_braces_are_a_commands_own(tmp_path: Path) -> None:
    raw = "mkdir -p {output} && awk '{print $1}' {scripts}/common.sh >{output}/x{1..3}"
    training = "--eval-bleu --eval-bleu-args '{}'"
    planned = plan(tmp_path, raw=raw, training=training)
    assert f"train.sh teacher data/data-bin --seed 1 {training}" in planned
    scripts = ROOT / "scripts"
    assert f"mkdir -p raw && awk '{{print $1}}' {scripts}/common.sh >raw/x{{1..3}}\n" in planned


@pytest.mark.parametrize("again", [False, True], ids=["first", "after a finished run"])
def test_a_target_other_than_the_table_is_made_alone(again: bool, tmp_path: Path) -> None:
    """A table of a run before is not shown as new."""
    path = tmp_path / "config.yaml"
    if again:
        for name in ("done/table", "done/report", "table/table.md"):
            mark = tmp_path / "runs" / "small" / name
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
    path.write_text(yaml.safe_dump(small_experiment("small", 1), sort_keys=False))
    done = shell("run.sh", path, "done/raw", "--cores", "1", folder=tmp_path)
    assert done.returncode == 0 and "made what was asked for" in done.stderr, done.stderr
    assert (tmp_path / "runs" / "small" / "raw" / "train.src").exists() and not (tmp_path / "results").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all steps of the small experiment are marked as done."""
    folder = tmp_path_factory.mktemp("finished")
    marks = [f"done/{step}" for step in ("raw", "data", "teacher", "distilled", "seq_kd.1", "table", "report")]
    for name in [*marks, "scores/teacher.json", "scores/seq_kd.1.json"]:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    workflow(folder, "--touch", "--forceall")
    return folder


def test_a_finished_table_is_shown_after_a_step_that_it_does_not_wait_for(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "runs" / "small")
    for name in ("table/table.md", "done/samples"):  # samples: another target, made later
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    done = shell("run.sh", finished / "config.yaml", folder=tmp_path)
    assert done.returncode == 0 and (tmp_path / "results" / "small" / "table.md").exists(), done.stderr


SCORED = {"score_teacher", "score_student", "table", "report"}
ROW = small_experiment("small", 1)["rows"]["seq_kd"]


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({}, set()),
        ({"beams": "1 5"}, SCORED),
        ({"scoring": "--metrics rouge"}, SCORED),
        ({"title": "Another title"}, {"table", "report"}),
        ({"rows": {"seq_kd": ROW | {"paper": {1: {"bleu": 20}}}}}, {"table", "report"}),
        ({"rows": {"seq_kd": ROW | {"name": "New"}}, "baseline": "New"}, SCORED - {"score_teacher"}),
    ],
    ids=["nothing", "beams", "scoring", "title", "paper", "name"],
)
def test_a_key_that_changed_after_a_run(changes: dict[str, Any], again: set[str], finished: Path) -> None:
    """What it enters is made again, and nothing else."""
    planned = plan(finished, **changes)
    assert set(re.findall(r"^(?:local)?rule (\w+):$", planned, re.MULTILINE)) == again, planned
