"""Folders that all workers of one test run share."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder ``name`` of this test run, filled by the worker that first asks for it; the others wait.

    Tests read it and never write to it.

    Args:
        factory: pytest's ``tmp_path_factory``.
        name: of the folder.
        make: fills the empty folder.
    """
    base = factory.getbasetemp()
    # pytest-xdist gives each worker a folder of its own below that of the run.
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = root / f"shared-{name}", root / f"shared-{name}.made"
    with open(root / f"shared-{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder
