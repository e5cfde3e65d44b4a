"""The help of the verbs that make text, and their answer to a mistyped option, wait for no heavy library."""

import subprocess
import sys

import pytest

from tests.support.commands import environment

CODE = """
import sys
from fairseq_kd.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print("status", end.code)
print("heavy", [name for name in ("torch", "fairseq", "sacrebleu", "sentencepiece") if name in sys.modules])
"""


@pytest.mark.parametrize(
    "verb", ["synthetic", "noise", "prepare", "decode", "select", "cache", "merge", "recut", "filter"]
)
@pytest.mark.parametrize(("option", "status"), [("--help", 0), ("--no-such-option", 2)])
def test_a_verb_answers_before_heavy_imports(verb: str, option: str, status: int) -> None:
    command = [sys.executable, "-c", CODE, verb, option]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(forked=False))
    assert done.stdout.splitlines()[-2:] == [f"status {status}", "heavy []"], done.stdout + done.stderr
