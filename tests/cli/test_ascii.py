"""The help answers in a locale that has ASCII alone, as cron jobs and containers have it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_kd.cli import VERBS

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
