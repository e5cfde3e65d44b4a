"""scripts/get_wmt14.sh: what it makes of the text that a user has, or that fake downloads give."""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.commands import BIN, ROOT
from tests.support.scripts import refused, shell

ARCHIVES = {"europarl": "training/europarl-v7", "commoncrawl": "./commoncrawl", "nc-v9": "training/news-commentary-v9"}


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def made(folder: Path) -> dict[str, list[str]]:
    return {path.name: path.read_text().splitlines() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def wmt14(tmp_path: Path) -> Path:
    """A user's own text: the second training pair has 51 words on one side."""
    for language in ("en", "de"):
        long = " ".join(["word"] * (51 if language == "de" else 2))
        write(tmp_path / "own" / f"train.{language}", f"one {language}", long, f"three {language}")
        write(tmp_path / "own" / f"valid.{language}", "valid")
        (tmp_path / "own" / f"test.{language}.gz").write_bytes(gzip.compress(b"test\n"))
    return tmp_path / "own"


def test_wmt14_without_the_long_pairs(wmt14: Path, tmp_path: Path) -> None:
    for _ in range(2):
        done = shell("get_wmt14.sh", "out", folder=tmp_path, WMT14_DIR=str(wmt14))
        assert done.returncode == 0, done.stderr
    assert done.stderr == "" and made(tmp_path / "out") == {
        **{f"train.{language}": [f"one {language}", f"three {language}"] for language in ("en", "de")},
        **{f"{split}.{language}": [split] for split in ("valid", "test") for language in ("en", "de")},
        "arguments": ["--max-words 50"],
    }
    shell("get_wmt14.sh", "all", "--max-words", "51", folder=tmp_path, WMT14_DIR=str(wmt14))
    assert len(made(tmp_path / "all")["train.de"]) == 3


def test_wmt14_that_is_there_with_another_limit(wmt14: Path, tmp_path: Path) -> None:
    get = ("get_wmt14.sh", "out")
    shell(*get, folder=tmp_path, WMT14_DIR=str(wmt14))
    assert shell(*get, "--max-words", "50", folder=tmp_path).returncode == 0
    line = refused(*get, "--max-words", "51", folder=tmp_path)
    told = "out was made with --max-words 50, not with --max-words 51; remove its text or take another folder"
    assert line == f"get_wmt14.sh: error: {told}"
    (tmp_path / "out" / "arguments").unlink()  # of an earlier version
    assert shell(*get, "--max-words", "51", folder=tmp_path).returncode == 0


def test_wmt14_that_is_not_parallel(wmt14: Path, tmp_path: Path) -> None:
    write(wmt14 / "train.de", "one")
    done = shell("get_wmt14.sh", "out", folder=tmp_path, WMT14_DIR=str(wmt14))
    assert done.returncode == 1 and done.stderr.endswith("error: train.en and train.de are not parallel\n")
    write(wmt14 / "valid.de", "one", "two")
    line = refused("get_wmt14.sh", "other", folder=tmp_path, WMT14_DIR=str(wmt14))
    assert f"valid.en has 1 lines, valid.de 2 (from {wmt14})" in line
    (wmt14 / "valid.de").unlink()
    line = refused("get_wmt14.sh", "other", folder=tmp_path, WMT14_DIR=str(wmt14))
    assert f"neither valid.de.gz nor valid.de in {wmt14}" in line
    assert not any(path.name.startswith(("train", "wmt14.")) for path in (tmp_path / "out").iterdir())


def test_wmt14_where_python_is_python3_alone(wmt14: Path, tmp_path: Path) -> None:
    """A copy of the scripts finds no .venv. What Python says is not taken for a fault of the text."""
    shutil.copytree(ROOT / "scripts", tmp_path / "clone" / "scripts")
    commands = tmp_path / "bin"
    commands.mkdir()
    for path in Path("/usr/bin").iterdir():
        if not path.name.startswith("python"):
            (commands / path.name).symlink_to(path)

    def get(script: str) -> subprocess.CompletedProcess:
        write(commands / "python3", "#!/bin/bash", script)
        (commands / "python3").chmod(0o755)
        words = (tmp_path / "clone" / "scripts" / "get_wmt14.sh", "out")
        return shell(*words, folder=tmp_path, WMT14_DIR=str(wmt14), PATH=str(commands))

    done = get("echo Traceback >&2; echo 'OSError: no room' >&2; exit 1")
    assert done.returncode == 1 and done.stderr.endswith(f"error: {commands}/python3 failed: OSError: no room\n")
    done = get(f'exec {sys.executable} "$@"')
    assert done.returncode == 0 and made(tmp_path / "out")["train.de"] == ["one de", "three de"], done.stderr


@pytest.fixture
def downloads(tmp_path: Path) -> tuple[Path, str]:
    """A copy of the scripts, which finds no .venv, and a PATH with a curl and a sacrebleu that need no network.

    The copy knows the sums of the archives that are made here.
    """
    for name, stem in ARCHIVES.items():
        with tarfile.open(tmp_path / f"{name}.tgz", "w:gz") as archive:
            for language in ("en", "de"):
                write(tmp_path / "text", f"{name} {language}")
                archive.add(tmp_path / "text", f"{stem}.de-en.{language}")
    commands = {
        "curl": f"""while (($#)); do [[ $1 == -o ]] && out=$2; url=$1; shift; done
            for name in {" ".join(ARCHIVES)}; do [[ $url != *$name* ]] || exec cp {tmp_path}/$name.tgz "$out"; done
            echo 'curl: (22) 404' >&2; exit 22""",
        "sacrebleu": 'echo "$2 $6"',
    }
    for name, text in commands.items():
        write(tmp_path / "bin" / name, "#!/bin/bash", text)
        (tmp_path / "bin" / name).chmod(0o755)
    shutil.copytree(ROOT / "scripts", tmp_path / "clone" / "scripts")
    script = tmp_path / "clone" / "scripts" / "get_wmt14.sh"
    sums = [hashlib.sha256((tmp_path / f"{name}.tgz").read_bytes()).hexdigest() for name in ARCHIVES]
    text, count = re.subn(r"\b[0-9a-f]{64}\b", lambda _: sums.pop(0), script.read_text())
    assert count == 3
    script.write_text(text)
    return tmp_path / "clone" / "scripts", f"{tmp_path / 'bin'}:{BIN}:{os.environ['PATH']}"


def test_wmt14_from_its_archives(downloads: tuple[Path, str], tmp_path: Path) -> None:
    scripts, path = downloads
    done = shell(scripts / "get_wmt14.sh", "out", folder=tmp_path, PATH=path)
    assert done.returncode == 0, done.stderr
    text = made(tmp_path / "out")
    assert text["train.de"] == [f"{name} de" for name in ARCHIVES] and len(text["train.en"]) == 3
    assert (text["valid.en"], text["test.de"]) == (["wmt13 src"], ["wmt14/full ref"])
    assert len(list((tmp_path / "out" / "archives").iterdir())) == 3


def test_another_archive_than_the_published_one_is_refused(downloads: tuple[Path, str], tmp_path: Path) -> None:
    scripts, path = downloads
    shutil.copy(ROOT / "scripts" / "get_wmt14.sh", scripts)
    line = shell(scripts / "get_wmt14.sh", "out", folder=tmp_path, PATH=path).stderr.splitlines()[-1]
    assert "training-parallel-europarl-v7.tgz has the SHA-256 " in line
    assert "instead of 0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7; run again" in line
    assert list((tmp_path / "out" / "archives").iterdir()) == []


@pytest.mark.parametrize("name", ["wmt14", "multi30k"])
def test_a_relative_folder_is_told_with_where_it_was_sought(name: str, tmp_path: Path) -> None:
    """quickstart.sh works in runs/NAME, which is not where the variable was set."""
    line = refused(f"get_{name}.sh", "out", folder=tmp_path, **{f"{name.upper()}_DIR": "own"})
    assert line.endswith(f"{name.upper()}_DIR=own is no folder (seen from {tmp_path})")
