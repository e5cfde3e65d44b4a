"""scripts/train.sh, told to stop: by Ctrl-C, or by a cluster that wants its machine back."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fairseq_kd.report.training_log import read_training_log
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


def test_without_room_for_its_log_it_stops_and_goes_on(tiny_corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "save"
    words = train_sh(folder, tiny_corpus, "--max-epoch", "2", "--log-interval", "99")
    # The log of its first lines is longer than 10,240 bytes.
    limited = ["bash", "-c", "trap '' XFSZ; ulimit -f 10; exec \"$@\"", "bash", *words]
    done = subprocess.run(limited, env=environment(), capture_output=True, text=True)
    told = f"{folder}/train.log cannot be written, so the training was stopped; make room and run it again"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == f"train.sh: error: {told}"
    subprocess.run(words, env=environment(), check=True, capture_output=True)
    assert (folder / "done").exists() and read_training_log(folder / "train.log")["epochs"] == 2


def test_nobody_reads_what_it_shows_and_its_log_is_whole(tiny_corpus: Path, tmp_path: Path) -> None:
    """As in `train.sh … 2>&1 | head -n 1`."""
    folder = tmp_path / "save"
    words = train_sh(folder, tiny_corpus, "--max-epoch", "3")
    running = subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None and "training, see" in running.stderr.readline()
    running.stderr.close()
    assert running.wait(timeout=120) == 0 and (folder / "done").exists()
    assert read_training_log(folder / "train.log")["epochs"] == 3
