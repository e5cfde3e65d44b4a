"""Work on blocks in several processes, and the lock on a folder that one run at a time may fill."""

import fcntl
import functools
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fairseq_kd.errors import UserError

Result = TypeVar("Result")
WAIT = 10.0
"""Seconds to wait for a lock; the processes of a killed run end within one."""


def processors() -> int:
    """How many processors this process may use, as SLURM or ``taskset`` set it."""
    # macOS has no sched_getaffinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(workers: int | None) -> int:
    """The number of processes; None: one for each of :func:`processors`.

    Raises:
        UserError: it is below 1.
    """
    if workers is None:
        return processors()
    if workers < 1:
        raise UserError(f"--workers {workers}: give 1 or more")
    return workers


def in_processes(
    function: Callable[..., Result], jobs: Iterable[tuple[Any, ...]], workers: int, work: str
) -> Iterator[Result]:
    """Call ``function`` with the arguments of each job, in ``workers`` processes; the results in the jobs' order.

    Only a few jobs are taken ahead, so that their arguments need no more memory for more jobs.

    Args:
        function: can be sent to another process, as its arguments and its result.
        jobs: the arguments of each call.
        workers: processes.
        work: names the work in the error.

    Raises:
        UserError: a process was killed from outside, or ``function`` raised one.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        with ProcessPoolExecutor(workers, initializer=functools.partial(_follow, os.getpid())) as pool:
            for job in jobs:
                waiting.append(pool.submit(function, *job))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(f"a process of the {work} was killed, perhaps for lack of memory; run it again") from None


def _follow(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when it has been killed; else a worker would wait for it for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make ``folder`` and keep other runs out of it. The system drops the lock when the run's last process has ended.

    Raises:
        UserError: another run holds the folder, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        _lock(lock, folder)
        yield
    finally:
        os.close(lock)


def _lock(handle: int, folder: Path) -> None:
    end = time.monotonic() + WAIT
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise UserError(f"{folder}: another run is at work in it; wait for it or end it") from None
            time.sleep(0.2)
        except OSError:  # a file system without locks
            return None
