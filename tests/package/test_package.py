"""The wheel and the sdist: what they hold, and that a wheel alone is enough to run a script."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.commands import ROOT
from tests.support.shared import made_once

BUILD = """
import sys
from setuptools import build_meta
getattr(build_meta, f"build_{sys.argv[1]}")(sys.argv[2])
"""
"""What `python -m build --no-isolation` asks of the backend, without the package build."""
FOLDERS = ("fairseq_kd", "scripts", "configs", "docs", "tests", "results")
SETUPTOOLS = importlib.metadata.version("setuptools")
pytestmark = pytest.mark.skipif(
    int(SETUPTOOLS.split(".")[0]) < 77, reason=f"setuptools {SETUPTOOLS} is installed; pyproject.toml needs 77"
)


def build(kind: str, tree: Path, folder: Path) -> Path:
    """Build a wheel or an sdist of a tree, offline and with this environment's setuptools."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-c", BUILD, kind, folder], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.iterdir()
    return made


def tracked() -> set[str]:
    """The files of the two folders that a wheel takes in."""
    found = {path for name in ("scripts", "configs") for path in (ROOT / name).rglob("*")}
    return {path.relative_to(ROOT).as_posix() for path in found if path.is_file() and path.suffix != ".pyc"}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wheel and an sdist of this checkout, built in a copy."""

    def make(folder: Path) -> None:
        tree = folder / "tree"
        unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for name in FOLDERS:
            shutil.copytree(ROOT / name, tree / name, ignore=unwanted)
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy(path, tree)
        for kind in ("wheel", "sdist"):
            build(kind, tree, folder / kind)
        shutil.rmtree(tree)

    folder = made_once(tmp_path_factory, "artifacts", make)
    (wheel,), (sdist,) = (folder / "wheel").iterdir(), (folder / "sdist").iterdir()
    return wheel, sdist


def test_the_citation_names_this_version() -> None:
    (version,) = re.findall('^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_the_wheel_holds_scripts_and_configs(artifacts: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(artifacts[0]).namelist())
    bundled = {name for name in names if name.startswith(("fairseq_kd/scripts/", "fairseq_kd/configs/"))}
    assert bundled == {f"fairseq_kd/{name}" for name in tracked()} and len(bundled) > 40
    assert {"fairseq_kd/py.typed", "fairseq_kd/cli/bundled.py", "fairseq_kd/report/page/assets/page.js"} <= names
    assert {name.split("/")[0] for name in names} == {"fairseq_kd", f"{artifacts[0].name.split('-py3')[0]}.dist-info"}


def test_the_sdist_makes_the_same_wheel(artifacts: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = artifacts
    with tarfile.open(sdist) as archive:
        # Python 3.11 has the filter from 3.11.4 on.
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (tree,) = tmp_path.iterdir()
    assert {name for name in tracked() if not (tree / name).is_file()} == set()
    assert (tree / "scripts" / "common.sh").read_bytes() == (ROOT / "scripts" / "common.sh").read_bytes()
    assert not list(tree.rglob("*.pyc")) and (tree / "tests" / "conftest.py").is_file()
    again = build("wheel", tree, tmp_path / "wheel")
    first, second = (zipfile.ZipFile(path) for path in (wheel, again))
    assert sorted(first.namelist()) == sorted(second.namelist())
    assert [name for name in first.namelist() if first.read(name) != second.read(name)] == []


@pytest.mark.slow
def test_the_unpacked_wheel_is_enough(artifacts: tuple[Path, Path], tmp_path: Path) -> None:
    """Where site-packages is read-only, nothing may have to be written there."""
    site, work = tmp_path / "site packages", tmp_path / "work"
    zipfile.ZipFile(artifacts[0]).extractall(site)
    work.mkdir()
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*")}

    def run(*words: str) -> subprocess.CompletedProcess:
        variables = {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-m", "fairseq_kd.cli", *words]
        return subprocess.run(command, cwd=work, env={**os.environ, **variables}, capture_output=True, text=True)

    shown = run("run", "wei_2024/iwslt14_de_en", "--show")
    assert shown.stdout == (ROOT / "configs" / "wei_2024" / "iwslt14_de_en.yaml").read_text(encoding="utf-8")
    planned = run("run", "quickstart", "--dry-run", "-p")
    assert planned.returncode == 0 and f"bash '{site}/fairseq_kd/scripts'/train.sh teacher" in planned.stdout, planned
    assert [path.name for path in work.iterdir()] == ["runs"]
    setup = subprocess.run(["bash", site / "fairseq_kd" / "scripts" / "quickstart.sh"], capture_output=True, text=True)
    assert (
        setup.returncode == 1 and setup.stderr == "setup.sh: error: this script is for a clone; see fairseq-kd --help\n"
    )
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == before
