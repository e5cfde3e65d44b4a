"""One training of two processes, which srun starts."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest
import torch

from fairseq_kd.networks.checkpoints import read_checkpoint
from tests.slurm.local_slurm import LocalSlurm, free_ports
from tests.support.commands import ROOT, environment
from tests.support.models import ARCHITECTURES
from tests.support.training import train_on_two_processes

pytestmark = [pytest.mark.slurm, pytest.mark.integration]
OPTIONS = [
    *("--criterion", "fused_cross_entropy", "--optimizer", "adam", "--lr", "0.01", "--max-tokens", "400"),
    *("--max-update", "4", "--num-workers", "0", "--seed", "3", "--no-epoch-checkpoints", "--log-format", "simple"),
    *ARCHITECTURES["transformer"].split(),
]
DISTRIBUTED = ["--ddp-backend", "legacy_ddp", "--distributed-backend", "gloo", "--distributed-no-spawn"]
RANK = '#!/bin/sh\nexec "$@" --distributed-rank "$SLURM_PROCID"\n'
INITIALISATION = """
import json
from pathlib import Path
from fairseq.dataclass.configs import DistributedTrainingConfig
from fairseq.distributed.utils import _infer_slurm_init
settings = DistributedTrainingConfig(distributed_world_size=2, distributed_port=29500)
assert _infer_slurm_init(settings, None)
names = ("distributed_rank", "distributed_world_size", "distributed_init_method", "distributed_no_spawn", "device_id")
Path(f"{settings.distributed_rank}.json").write_text(json.dumps([getattr(settings, name) for name in names]))
"""


def batch(*words: str, folder: Path, **variables: str) -> None:
    """A job of two tasks; it runs a script of ours, and the test waits for it."""
    options = ["--wait", "--ntasks=2", f"--chdir={folder}", f"--output={folder}/job.log", f"--wrap={shlex.join(words)}"]
    done = subprocess.run(["sbatch", *options], env=environment() | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + (folder / "job.log").read_text()


def test_two_tasks_train_one_model(slurm: LocalSlurm, tiny_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "rank.sh").write_text(RANK)
    (port,) = free_ports(1)
    address = ["--distributed-world-size", "2", "--distributed-init-method", f"tcp://127.0.0.1:{port}"]
    script = ["bash", str(ROOT / "scripts" / "train.sh"), "model", str(tiny_corpus), *OPTIONS, *DISTRIBUTED, *address]
    batch(*script, folder=tmp_path, FAIRSEQ_KD_LAUNCHER="srun --ntasks=2 sh rank.sh")
    log = (tmp_path / "model" / "train.log").read_text()
    assert (tmp_path / "model" / "done").exists() and "as rank 0" in log and "distributed_world_size': 2" in log
    options = [*OPTIONS[:2], "--max-update", "4", "--log-format", "simple", "--task", "translation_kd"]
    options += ["--data-buffer-size", "0"]
    by_hand = train_on_two_processes(tiny_corpus, tmp_path / "by-hand", *options)
    models = [read_checkpoint(path)["model"] for path in (by_hand, tmp_path / "model" / "checkpoint_last.pt")]
    assert models[0].keys() == models[1].keys()
    assert all(torch.equal(weights, models[1][name]) for name, weights in models[0].items())


@pytest.mark.slow
def test_fairseq_finds_its_place_in_the_job(slurm: LocalSlurm, tmp_path: Path) -> None:
    """What the how-to page says of GPUs: with --distributed-port, fairseq asks SLURM for everything else."""
    (tmp_path / "place.py").write_text(INITIALISATION)
    batch("srun", "--ntasks=2", "python", "place.py", folder=tmp_path)
    node = slurm.run("squeue", "--version") and slurm.run("sinfo", "-h", "-N", "-o", "%N").split()[0]
    for rank in (0, 1):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found == [rank, 2, f"tcp://{node}:29500", True, rank]
