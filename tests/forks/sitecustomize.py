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
    request = {
        "words": sys.orig_argv[1:],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "files": files,
        "path": [os.path.dirname(sys.orig_argv[1]), *(folder for folder in sys.path if folder != own)],
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


if len(sys.orig_argv) > 1 and os.path.basename(sys.orig_argv[1]) in os.environ.get("FORKED_COMMANDS", "").split():
    hand_over(os.environ["FORK_SERVER"])
