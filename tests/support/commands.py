"""This environment's commands, run as people run them."""

import atexit
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.forks.fork_server import COMMANDS, MODULES, STDIN

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PLUGIN = ROOT / "fairseq_kd"
FORKS = ROOT / "tests" / "forks"
Run = Callable[..., subprocess.CompletedProcess]
_may_fork = True


def fork_commands(allowed: bool) -> None:
    """Whether :func:`environment` may fork commands; ``--no-fork`` says no for a whole run of the tests."""
    global _may_fork
    _may_fork = allowed


@functools.cache
def fork_server() -> str:
    """Start the fork server at the first call; its address. It ends with this process, which holds its stdin open."""
    address = f"fairseq-kd-tests-{os.getpid()}"
    bytecode = tempfile.mkdtemp(prefix="fairseq-kd-bytecode-")
    atexit.register(shutil.rmtree, bytecode, ignore_errors=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{address}")
        listener.listen()
        server = subprocess.Popen(
            [sys.executable, FORKS / "fork_server.py", str(listener.fileno()), bytecode],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            pass_fds=[listener.fileno()],
        )
    atexit.register(server.communicate)
    return address


def environment(*, forked: bool = True) -> dict[str, str]:
    """For commands and scripts: one thread, this environment's commands and this checkout's package.

    With ``forked``, and without the option ``--no-fork``, the commands of tests/forks/fork_server.py are forked;
    otherwise each command imports what it needs itself.
    """
    found = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    if forked and _may_fork:
        found |= {"FORK_SERVER": fork_server(), "FORKED_COMMANDS": " ".join((*COMMANDS, *MODULES, STDIN))}
        found["PYTHONPATH"] = f"{FORKS}:{ROOT}"
    return found


def run_command(*words: str | os.PathLike, check: bool = True, **options: object) -> subprocess.CompletedProcess:
    """One of this environment's commands on one thread; its output is captured."""
    command = [str(BIN / str(words[0])), *map(str, words[1:])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), **options)
    if check:
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def generated_rows(data: Path, checkpoint: Path, task: str = "translation") -> int:
    """How many rows of the test set fairseq-generate translates."""
    words = ("--path", checkpoint, "--user-dir", PLUGIN, "--cpu", "--task", task, "--max-len-b", "12")
    made = run_command("fairseq-generate", data, *words)
    return sum(line.startswith("H-") for line in made.stdout.splitlines())
