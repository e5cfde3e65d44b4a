"""scripts/test.sh, with stand-ins for the tools that it starts: what runs, and what it says of a mistake."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import ROOT
from tests.support.scripts import shell

TOOLS = ("shellcheck", "codespell", "ruff", "mypy", "mkdocs", "pytest", "fairseq-kd")
FAKE = """#!/bin/bash
name=${0##*/}
if [[ $FAILING == "$name" ]]; then
  echo "$name: a mistake"
  exit 3
fi
echo "$name $*" >>"$SEEN"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The script in a folder whose .venv is another folder's, so that nothing is installed."""
    folder, commands = tmp_path / "clone", tmp_path / "venv" / "bin"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    for name in ("pyproject.toml", ".mkdocs.yml"):
        shutil.copy(ROOT / name, folder)
    commands.mkdir(parents=True)
    for name in TOOLS:
        (commands / name).write_text(FAKE)
        (commands / name).chmod(0o755)
    (folder / ".venv").symlink_to(commands.parent)
    return folder


def run_script(clone: Path, *words: str, failing: str = "") -> tuple[subprocess.CompletedProcess, list[str]]:
    """What became of it, and the calls of the tools that found nothing."""
    seen = clone / "seen"
    done = shell(clone / "scripts" / "test.sh", *words, folder=clone, FAILING=failing, SEEN=str(seen))
    return done, seen.read_text().splitlines() if seen.exists() else []


def test_the_tests_run_after_all_checks(clone: Path) -> None:
    done, calls = run_script(clone, "-k", "token_kd")
    assert done.returncode == 0, done.stderr
    assert {call.split()[0] for call in calls[:-1]} == {*TOOLS} - {"pytest", "fairseq-kd"}
    assert calls[-1].startswith("pytest -n ") and calls[-1].endswith("-m not slow -k token_kd")
    assert "not slow" not in run_script(clone, "--all")[1][-1]


@pytest.mark.parametrize("tool", ["shellcheck", "ruff", "mypy", "mkdocs"])
def test_a_mistake_is_shown_and_no_test_runs(tool: str, clone: Path) -> None:
    done, calls = run_script(clone, failing=tool)
    assert done.returncode and f"{tool}: a mistake" in done.stdout
    assert not any(call.startswith("pytest") for call in calls)


def test_a_failing_test_is_the_scripts_status(clone: Path) -> None:
    assert run_script(clone, failing="pytest")[0].returncode == 3
