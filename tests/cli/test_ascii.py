"""The help answers in a locale that has ASCII alone, as cron jobs and containers have it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_kd.cli import VERBS

ROOT = Path(__file__).parents[2]
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_the_help_of_every_verb(verb: str | None) -> None:
    words = [sys.executable, "-m", "fairseq_kd.cli", *([verb] if verb else []), "--help"]
    done = subprocess.run(words, capture_output=True, env={**os.environ, **ASCII}, cwd=ROOT)
    shown = done.stdout.decode("ascii")
    assert done.returncode == 0, done.stderr.decode()
    assert shown.startswith("usage: fairseq-kd") and "\\u" not in shown and "?" not in shown.replace("?)", "")
