"""The project's commands, run on the GPU or with the GPU hidden."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import fairseq_kd
from fairseq_kd.errors import PREFIX, UserError

PLUGIN = str(Path(fairseq_kd.__file__).parent)
LOGGED = re.compile(r"train_inner \| (\{.*\})")
MODULES = {
    "fairseq-train": "fairseq_cli.train",
    "fairseq-kd": "fairseq_kd.cli",
}
"""What a command runs, where only its package is on the path."""
LIMIT = 240
"""Seconds that one command may take."""


def run(words: Sequence[str], gpu: bool) -> str:
    """Run a command and return what it prints.

    Args:
        words: a command of :data:`MODULES`, or a module; and its arguments.
        gpu: whether the command sees the GPU.

    Raises:
        UserError: it failed or took too long; the message ends with the last line of its error output.
    """
    hidden = {} if gpu else {"CUDA_VISIBLE_DEVICES": ""}
    # As many commands as there are cores run at once: one thread each.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1", **hidden}
    installed = Path(sys.executable).with_name(words[0])
    start = [str(installed)] if installed.exists() else [sys.executable, "-m", MODULES.get(words[0], words[0])]
    try:
        done = subprocess.run([*start, *words[1:]], capture_output=True, text=True, env=environment, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise UserError(f"{words[0]} took more than {LIMIT} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{words[0]} ended with status {done.returncode}: {last}")
    return done.stdout


def reason(error: UserError) -> str:
    """The error's message without the name of the program."""
    return str(error).removeprefix(PREFIX)


def fairseq_kd_command(words: Sequence[str], gpu: bool) -> str:
    """Run ``fairseq-kd WORDS…``; as :func:`run`."""
    return run(["fairseq-kd", *words], gpu)


@cache
def train(data: str, options: tuple[str, ...], gpu: bool) -> list[float]:
    """Run fairseq-train and return the losses that it logs; the same call again returns the same list.

    Args:
        data: the data-bin.
        options: without --user-dir and the log's format.
        gpu: whether it trains on the GPU.

    Raises:
        UserError: the training failed.
    """
    log = ["--log-format", "json", "--log-interval", "1"]
    device = [] if gpu else ["--cpu"]
    printed = run(["fairseq-train", data, "--user-dir", PLUGIN, *options, *log, *device], gpu)
    return [float(json.loads(line)["loss"]) for line in LOGGED.findall(printed)]
