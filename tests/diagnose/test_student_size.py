"""The size of a student whose options name the plugin's task and criterion."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import ROOT, environment
from tests.support.models import ARCHITECTURES

OPTIONS = f"{ARCHITECTURES['transformer']} --share-all-embeddings --task translation_kd --criterion token_kd"
SIZE = """
import sys
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.diagnose.student_size import student_parameters
print(student_parameters(sys.argv[1], open_databin(sys.argv[2], "test")))
"""


@pytest.mark.integration
def test_the_plugins_options_are_known(tiny_corpus: Path, tmp_path: Path) -> None:
    """In a process of its own, where nobody else has registered the plugin with fairseq."""
    (tmp_path / "student.txt").write_text(OPTIONS)
    words = [sys.executable, "-c", SIZE, str(tmp_path / "student.txt"), str(tiny_corpus)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment(forked=False))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) > 1000
