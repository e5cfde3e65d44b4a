"""A SLURM of the tests' own, and an experiment that was run without it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.experiment import Experiment
from tests.slurm.local_slurm import LocalSlurm, local_slurm, missing


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSlurm]:
    """The daemons; commands that the tests start find them."""
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm") / "daemons"
    with local_slurm(folder) as started, pytest.MonkeyPatch.context() as patch:
        for name, value in started.variables.items():
            patch.setenv(name, value)
        yield started


@pytest.fixture(scope="session")
def local(slurm: LocalSlurm, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """The experiment, run on this machine."""
    assert os.environ["FAIRSEQ_KD_CACHE"] == str(cache)
    experiment = Experiment(tmp_path_factory.mktemp("local"))
    done = experiment.run("--cores", "1")  # as the jobs: the number of threads changes the last digits
    assert done.returncode == 0, done.stderr
    return experiment
