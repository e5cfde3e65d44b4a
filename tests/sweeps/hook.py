"""Imported by a forked command of a sweep: end the process by SIGKILL between two of its operations on files.

``SWEEP_LOG`` names a file that all processes of a stage append a byte to for each operation; ``SWEEP_KILL`` is the
number of the operation before which the process ends, 0 for never.
"""

import os
import signal
import sys
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
_log = os.open(os.environ["SWEEP_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_last = int(os.environ["SWEEP_KILL"])


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Python calls this before each operation."""
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in CHANGES:
        os.write(_log, b".")
        if os.fstat(_log).st_size == _last:
            os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(watch)
