"""What the workflow plans for an experiment of a few rows: a dry run starts nothing."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import ROOT, run_command
from tests.support.experiments import small_experiment

pytest.importorskip("snakemake", reason="Snakemake 9 needs Python 3.11")


def rows(**more: dict[str, Any]) -> dict[str, Any]:
    """Rows on gold text, each named by its key; ``more`` has further keys of each."""
    plain = {"data": "gold", "options": "--criterion fused_cross_entropy"}
    return {key: plain | {"name": key.capitalize()} | own for key, own in more.items()}


def plan(folder: Path, *options: str, **changes: Any) -> str:
    """What Snakemake prints of its jobs and their commands."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(small_experiment("small", 1, **changes), sort_keys=False))
    words = ["--snakefile", ROOT / "scripts" / "Snakefile", "--configfile", path, "--directory", folder, "--cores", "2"]
    done = run_command("snakemake", "-n", "-p", *words, *options)
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
