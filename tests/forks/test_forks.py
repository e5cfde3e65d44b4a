"""The commands that the tests fork: as the real ones, and the work ends with the command's process."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.commands import BIN, environment


def test_a_forked_command_answers_as_the_real_one(tmp_path: Path) -> None:
    command = [str(BIN / "fairseq-kd"), "merge", "none"]
    forked, real = (
        subprocess.run(command, cwd=tmp_path, env=environment(forked=forked), capture_output=True, text=True)
        for forked in (True, False)
    )
    assert (forked.returncode, forked.stdout, forked.stderr) == (real.returncode, real.stdout, real.stderr)
    assert forked.returncode == 1 and forked.stderr.startswith("fairseq_kd: error: none")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "terminate"])
def test_the_work_ends_with_the_process(number: signal.Signals, tmp_path: Path) -> None:
    words = ["synthetic", "--output", "text", "--test", "2", "--valid", "2", "--train", "3000000"]
    command = [str(BIN / "fairseq-kd"), *words]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE)
    while running.poll() is None and not (tmp_path / "text" / "valid.tgt").exists():
        time.sleep(0.01)
    running.send_signal(number)
    assert running.wait() == -number
    # The end of the pipe: whatever held its other side is gone.
    assert running.communicate(timeout=30)[0] == b""
    assert not (tmp_path / "text" / "synthetic.json").exists()
