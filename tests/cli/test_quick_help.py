"""A verb's help answers before torch, fairseq, sacreBLEU or matplotlib is loaded."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "fairseq", "sacrebleu", "matplotlib", "ctranslate2", "numpy", "bokeh"}
SHOW = """
import contextlib, io, json, sys
from fairseq_kd.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main([sys.argv[1], "--help"])
print(json.dumps([name for name in sys.modules if "." not in name]))
"""


@pytest.mark.parametrize("verb", ["evaluate", "risks", "table", "report", "study", "diagnose", "benchmark"])
def test_help_imports_nothing_heavy(verb: str) -> None:
    done = subprocess.run([sys.executable, "-c", SHOW, verb], capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stdout))
    assert "fairseq_kd" in imported and not imported & HEAVY
