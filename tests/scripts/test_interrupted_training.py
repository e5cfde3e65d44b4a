"""scripts/train.sh, told to stop: by Ctrl-C, or by a cluster that wants its machine back."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.commands import environment
from tests.support.kills import at_work, epochs_begun
from tests.support.training import train_sh


@pytest.mark.parametrize(
    ("number", "group"),
    [
        (signal.SIGINT, True),
        (signal.SIGTERM, True),
        (signal.SIGTERM, False),
        (signal.SIGHUP, True),
        (signal.SIGHUP, False),
        (signal.SIGUSR1, False),
    ],
    ids=["Ctrl-C", "terminated", "the script alone", "a closed terminal", "hung up alone", "a cluster's warning"],
)
def test_it_stops_in_one_line_and_goes_on(
    number: signal.Signals, group: bool, tiny_corpus: Path, tmp_path: Path
) -> None:
    words, folder = train_sh(tmp_path / "save", tiny_corpus, "--max-epoch", "2000"), tmp_path / "save"
    running = subprocess.Popen(
        words, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    begun = epochs_begun(folder / "train.log", 3)
    while running.poll() is None and not begun():
        time.sleep(0.01)
    (os.killpg if group else os.kill)(running.pid, number)
    err = running.communicate(timeout=20)[1]
    assert running.returncode == 128 + number
    assert not at_work(running.pid)
    last = err.splitlines()[-1]
    assert last == f"train.sh: {folder}: stopped by {number.name}. Run it again to go on"
    assert not (folder / "done").exists()

    end = train_sh(folder, tiny_corpus, "--max-epoch", "2000")
    again = subprocess.Popen(end, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True)
    first = next(line for line in again.stderr if "going on" in line)
    os.killpg(again.pid, signal.SIGKILL)
    assert "going on from checkpoint_last.pt" in first
    again.communicate()
