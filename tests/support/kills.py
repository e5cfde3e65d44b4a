"""Commands that are killed on the way and run again."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from tests.support.commands import environment


class Moment(NamedTuple):
    """When to kill: as soon as ``reached`` is true, and ``delay`` seconds later."""

    reached: Callable[[], bool]
    delay: float = 0.0


def at_work(group: int) -> list[str]:
    """The processes of a group that have not ended, as Linux lists them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state not in "ZX":
            found.append(path.parent.name)
    return found


def kill(command: list[str], moment: Moment, *, forked: bool = True, alone: bool = False) -> None:
    """Start a command and kill it with SIGKILL at a moment, together with all processes of its group.

    ``alone``, the command is killed by itself; its children must then end on their own within 10 seconds.
    AssertionError where the command ends before it is killed.
    """
    env = environment(forked=forked)
    running = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, start_new_session=True)
    while running.poll() is None and not moment.reached():
        time.sleep(0.0005)
    time.sleep(moment.delay)
    assert running.poll() is None, f"{' '.join(command)} ended before it was killed"
    (os.kill if alone else os.killpg)(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while at_work(running.pid):
        assert time.monotonic() < deadline, f"processes of {' '.join(command)} outlive it"
        time.sleep(0.01)


def kill_and_run_again(
    command: list[str],
    moments: Iterable[Moment],
    *,
    between: Callable[[], object] = lambda: None,
    forked: bool = True,
    alone: bool = False,
) -> subprocess.CompletedProcess:
    """:func:`kill` a command at each of the moments, call ``between``, and run the command to its end.

    ``forked`` concerns the runs that are killed: a forked command's work ends a moment after the command. Returns the
    last run, its output captured; its status is 0. What it leaves is the caller's to compare with an unbroken run.
    """
    for moment in moments:
        kill(command, moment, forked=forked, alone=alone)
    between()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def epochs_begun(log: Path, count: int) -> Callable[[], bool]:
    """Whether fairseq-train's log tells of so many epochs, one that is running included."""
    return lambda: log.exists() and log.read_text().count("Start iterating") >= count


def files_there(folder: Path, pattern: str, count: int) -> Callable[[], bool]:
    """Whether a folder holds so many files of a pattern."""
    return lambda: len(list(folder.glob(pattern))) >= count
