"""A locale that has ASCII alone, as cron jobs and containers have it, and paths that no locale has."""

import io
import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from fairseq_kd.cli import VERBS
from fairseq_kd.cli.messages import print_all

ROOT = Path(__file__).parents[2]
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}


HELP = """
import os, sys
from fairseq_kd.cli import main

for verb in sys.argv[1:]:
    print(f"verb {verb}", flush=True)
    if os.fork() == 0:
        main([verb, "--help"])
    assert os.wait()[1] == 0, verb
"""


def shown(*words: str) -> str:
    """What Python prints in that locale."""
    done = subprocess.run([sys.executable, *words], capture_output=True, env={**os.environ, **ASCII}, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("ascii")


@pytest.fixture(scope="module")
def of_verbs() -> dict[str, str]:
    """The help of each verb; one process imports the command line and forks for each."""
    _, *parts = re.split(r"^verb (.*)\n", shown("-c", HELP, *VERBS), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def assert_is_help(text: str) -> None:
    assert text.startswith("usage: fairseq-kd") and "\\u" not in text and "?" not in text.replace("?)", "")


def test_the_help() -> None:
    assert_is_help(shown("-m", "fairseq_kd.cli", "--help"))


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb(verb: str, of_verbs: dict[str, str]) -> None:
    assert_is_help(of_verbs[verb])


def test_signs_that_the_locale_lacks() -> None:
    """A verb that has done its work ends well: a sign is shown by its number, a path by its bytes."""
    stream = io.TextIOWrapper(io.BytesIO(), "ascii", newline="")
    print_all(stream)
    print("λ = 1.5, d\udce9j", file=stream, flush=True)
    assert stream.buffer.getvalue() == b"\\u03bb = 1.5, d\xe9j\n"  # type: ignore[attr-defined]


def test_a_bundled_experiment_is_copied_byte_by_byte() -> None:
    command = [sys.executable, "-m", "fairseq_kd.cli", "run", "--show", "hybrid"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **ASCII}, cwd=ROOT)
    assert done.stdout == (ROOT / "configs" / "hybrid.yaml").read_bytes(), done.stderr.decode()


def test_a_path_that_is_not_utf_8_is_printed_as_it_is(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/d\xe9j\xe0"
    os.mkdir(folder)
    state = {"model": {"w": torch.ones(9)}, "args": Namespace(arch="transformer"), "last_optimizer_state": {}}
    torch.save(state, os.fsdecode(folder + b"/checkpoint_last.pt"))
    command = [sys.executable, "-m", "fairseq_kd.cli", "last-checkpoint", folder]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT)
    assert done.stdout == folder + b"/checkpoint_last.pt\n", done.stderr.decode()
