"""Imported by Python at its start: hands a command over to fork_server.py, where the environment names one."""

import os
import sys


def hand_over(address: str) -> None:
    """Send all that this process was started with, pass signals on, and end as the work ends."""
    import json
    import signal
    import socket

    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"\0{address}")
    # What Python itself has opened is not inherited.
    opened = map(int, os.listdir("/proc/self/fd"))
    files = [number for number in opened if os.path.exists(f"/proc/self/fd/{number}") and os.get_inheritable(number)]
    own = os.path.dirname(__file__)
    # What Python puts before its own folders: a script's folder, or the working folder of -m and of a program on stdin.
    first = [os.path.dirname(sys.orig_argv[1]) if os.sep in sys.orig_argv[1] else os.getcwd()]
    if getattr(sys.flags, "safe_path", False):  # since Python 3.11
        first = []
    request = {
        "words": sys.orig_argv[1:],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "files": files,
        "path": [*first, *(folder for folder in sys.path if folder != own)],
    }
    message = json.dumps(request).encode()
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: connection.send(bytes([number])))
    socket.send_fds(connection, [len(message).to_bytes(8, "big")], files)
    connection.sendall(message)
    status = connection.recv(4)
    if not status:
        os.write(2, b"the tests' fork server has ended\n")
        os._exit(70)
    code = os.waitstatus_to_exitcode(int.from_bytes(status, "big"))
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def is_forked(words: list[str]) -> bool:
    """Whether the words after Python's name are a command, ``-m`` and a module, or ``-`` that FORKED_COMMANDS names.

    ``python -m snakemake``, as a SLURM job starts it, is not: SLURM ends what it has started itself.
    """
    named = os.environ.get("FORKED_COMMANDS", "").split()
    if words[:1] == ["-m"]:
        return len(words) > 1 and "." in words[1] and words[1] in named
    return bool(words) and os.path.basename(words[0]) in named


if is_forked(sys.orig_argv[1:]):
    hand_over(os.environ["FORK_SERVER"])
