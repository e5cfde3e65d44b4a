"""The help of the verbs that make models smaller answers before torch or fairseq is imported."""

import subprocess
import sys

import pytest

from tests.support.commands import environment

SCRIPT = """
import sys
from fairseq_kd.cli import main
try:
    main([sys.argv[1], "--help"])
finally:
    print("imported:", *sorted(name for name in sys.modules if "." not in name))
"""


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        ("average", "--output"),
        ("trim", "--spm-model"),
        ("prune", "--scheme"),
        ("export", "--precision"),
        ("init-student", "--decoder-ffn-embed-dim"),
    ],
)
def test_help_imports_neither_torch_nor_fairseq(verb: str, option: str) -> None:
    command = [sys.executable, "-c", SCRIPT, verb]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(forked=False))
    assert done.returncode == 0, done.stderr
    told, _, imported = done.stdout.partition("imported:")
    assert option in told
    assert "fairseq_kd" in imported.split()
    assert not {"torch", "fairseq", "numpy", "ctranslate2"} & set(imported.split())
