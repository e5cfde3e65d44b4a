"""A small experiment, run by scripts/run.sh here or on SLURM, and what of its table has to be equal."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.commands import ROOT, environment
from tests.support.experiments import small_experiment

PROFILE = ROOT / "scripts" / "profiles" / "slurm"
EXPERIMENT = small_experiment(
    "small",
    3,
    raw="fairseq-kd synthetic --output {output} --train 240 --valid 20 --test 30",
    student="--dropout 0.1 --lr 0.003",
    distilled="--block-rows 30",
)
ONE_THREAD = ("data", "teacher", "distilled", "shard", "student", "score_teacher", "score_student", "diagnosis")
"""Rules; with another number of threads the last bit of a sum can be another."""
ON_SLURM = [
    *("--profile", str(PROFILE), "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
    *("--latency-wait", "5", "--cores", "1", "--set-threads", *(f"{rule}=1" for rule in ONE_THREAD)),
]
"""The profile as users get it, and what makes it quick."""
TIMES = re.compile(r"seconds$|_per_second$|^sha256$|^checksum$|^commit$")
"""Keys of times, and of checksums of what times are in: a checkpoint, the table. The commit may change meanwhile."""


class Experiment:
    """The experiment in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = folder / "small.yaml"
        self.config.write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))
        self.runs = folder / "runs" / "small"
        self.results = folder / "results" / "small"

    def command(self, *options: str) -> list[str]:
        """What runs it."""
        script = str(ROOT / "scripts" / "run.sh")
        return ["bash", script, "--output", str(self.folder), str(self.config), *options]

    def run(self, *options: str) -> subprocess.CompletedProcess:
        """Run it to its end."""
        return subprocess.run(self.command(*options), env=environment(), capture_output=True, text=True)

    def start(self, *options: str) -> subprocess.Popen:
        """Start it."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command(*options), env=environment(), stdout=pipe, stderr=pipe, text=True)

    def figures(self) -> dict[str, Any]:
        """The table's JSON and those of the scores, without times and what depends on them."""
        return {path.name: figures(path) for path in (self.results / "table.json", *self.runs.glob("scores/*.json"))}

    def outputs(self) -> dict[str, bytes]:
        """The distilled text and all translations of the test set, which no time is in."""
        files = [*self.runs.glob("distilled/train.*"), *self.runs.glob("scores/*.jsonl")]
        return {str(path.relative_to(self.runs)): path.read_bytes() for path in files}


def figures(path: Path) -> Any:
    """A JSON file without times and what depends on them."""
    return untimed(json.loads(path.read_text()))


def untimed(content: Any) -> Any:
    """JSON without the values whose keys tell of a time."""
    if isinstance(content, dict):
        return {key: untimed(value) for key, value in content.items() if not TIMES.search(key)}
    return [untimed(one) for one in content] if isinstance(content, list) else content
