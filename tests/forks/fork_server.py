"""fairseq's and snakemake's commands, and modules that scripts start, in forks of a process that has imported fairseq.

The import takes some seven seconds of processor time, more than a tiny training. ``sitecustomize.py`` beside this file,
which Python imports at its start, hands over what a command was started with: arguments, environment, folder and open
files, and stays as the command's process, which signals reach and which ends as the work does, or takes it along. What
runs is the command's own entry point; the plugin is imported by the command, as ever.

``pytest --no-fork`` runs the tests without it: each command then starts as a user's does, and takes those seconds.

    python fork_server.py FD FOLDER    serves the listening socket FD until its stdin is closed

FOLDER takes the compiled modules of the project, for the commands that follow.
"""

import atexit
import contextlib
import fcntl
import functools
import gc
import importlib
import json
import logging
import os
import runpy
import select
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMANDS = {
    f"fairseq-{verb.replace('_', '-')}": f"fairseq_cli.{verb}:cli_main"
    for verb in ("preprocess", "train", "hydra_train", "generate", "validate")
}
COMMANDS["fairseq-kd"] = "fairseq_kd.cli:main"
COMMANDS["snakemake"] = "snakemake.cli:main"
"""The entry point behind each command."""
MODULES = ("fairseq_kd.corpus.preparation.binarise", "fairseq_kd.corpus.distilled.databin", "fairseq_kd.benchmark.gpu")
"""What the scripts start as ``python -m MODULE``, where it imports fairseq."""
STDIN = "-"
"""``python - WORDS…``: the program is on standard input."""
OWN_LOGGING = ("fairseq-train", "snakemake", "fairseq-kd", STDIN)
"""Set their logging up themselves; for the others the import of fairseq does."""
IMPORTED = (
    *("fairseq", "sacrebleu", "sentencepiece", "snakemake.cli", "matplotlib.pyplot", "jsonschema"),
    "ctranslate2.converters",  # and with it transformers
    *("torch._dynamo", "torch.distributed.fsdp"),  # by the first optimiser and by fairseq's trainer
)
"""What commands import, and none of it is the project's own."""
FIRST_FREE = 300  # above what a command has open, and so this process


def serve(listener: socket.socket) -> Callable[[], Any]:
    """Fork for each command; returns its entry point, and that only in the process which is to be the command."""
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if 0 in ready:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return attend(connection)
        connection.close()


def attend(connection: socket.socket) -> Callable[[], Any]:
    """Stand between a command's process at the other end and the one that does its work."""
    size, received, *_ = socket.recv_fds(connection, 8, 250)
    request = json.loads(connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
    worker = os.fork()
    if worker == 0:
        return become(request, received)
    # Of its own, so that its children end with it
    os.setpgid(worker, worker)
    os.closerange(0, 3)
    for descriptor in received:
        os.close(descriptor)
    ended = os.pidfd_open(worker)
    while ended not in select.select([connection, ended], [], [])[0]:
        number = connection.recv(1)
        if number:
            os.kill(worker, number[0])
        else:
            os.killpg(worker, signal.SIGKILL)
            os._exit(0)
    with contextlib.suppress(OSError):
        connection.sendall(os.waitpid(worker, 0)[1].to_bytes(4, "big"))
    os._exit(0)


def become(request: dict[str, Any], received: list[int]) -> Callable[[], Any]:
    """Take over what the command was started with, down to the numbers of its open files."""
    kept = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE) for descriptor in received]
    os.closerange(0, FIRST_FREE)
    for descriptor, number in zip(kept, request["files"], strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.pycache_prefix, sys.dont_write_bytecode = sys.argv[2], False
    sys.argv, sys.path[:] = request["words"], request["path"]
    # Read when torch is imported
    torch = sys.modules["torch"]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", str(os.cpu_count() or 1)).split(",")[0]))
    if sys.argv[0] == "-m":
        del sys.argv[0]
    name = Path(sys.argv[0]).name
    if name in OWN_LOGGING:
        logging.getLogger().handlers.clear()
        logging.getLogger().setLevel(logging.WARNING)
    if "SWEEP_HOOK" in os.environ:
        importlib.import_module(os.environ["SWEEP_HOOK"])
    if name == STDIN:
        return run_stdin
    if name in MODULES:
        return functools.partial(run_module, name)
    module, function = COMMANDS[name].split(":")
    return getattr(importlib.import_module(module), function)


def run_module(name: str) -> None:
    """Run a module as ``python -m NAME`` does."""
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def run_stdin() -> None:
    """Run the program on standard input, as ``python -`` does."""
    exec(compile(sys.stdin.read(), "<stdin>", "exec"), {"__name__": "__main__"})


def status_of(command: Callable[[], Any]) -> int:
    """Run a command's entry point as its script does; its exit status."""
    try:
        found = command()
    except SystemExit as stop:
        found = stop.code
    except BaseException as error:
        sys.excepthook(*sys.exc_info())
        if isinstance(error, KeyboardInterrupt):  # Python then ends by the signal
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        found = 1
    if not isinstance(found, int | None):
        print(found, file=sys.stderr)
        found = 1
    return found or 0


def compose_options() -> None:
    """Let hydra read a training's options once: its parser is slow until it has seen each of its grammar's rules."""
    from composing import compose_quickly  # beside this file
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    compose_quickly(True)
    words = ["data", "--arch", "transformer", "--optimizer", "adam", "--lr-scheduler", "inverse_sqrt"]
    arguments = options.parse_args_and_arch(options.get_training_parser(), words)
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        convert_namespace_to_omegaconf(arguments)


def end_at_once() -> None:
    """Without taking the interpreter apart module by module, which takes a third of a second."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    status = 1
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    atexit.register(end_at_once)  # before the imports, and so after what they and the commands register
    logging.disable(logging.CRITICAL)
    for name in IMPORTED:
        with contextlib.suppress(ModuleNotFoundError):  # Snakemake 9 needs Python 3.11
            importlib.import_module(name)
    compose_options()
    logging.disable(logging.NOTSET)
    gc.collect()
    gc.freeze()  # what was imported is not looked through again and again in each process
    status = status_of(serve(socket.socket(fileno=int(sys.argv[1]))))
    sys.exit()
