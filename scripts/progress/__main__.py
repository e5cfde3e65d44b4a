"""Run Snakemake and show one line for each running step.

    python scripts/progress FOLDER snakemake OPTIONS…

Snakemake's output and that of all steps go to FOLDER/workflow.log. The progress goes to standard error: on a terminal
one live line for each running step, elsewhere a plain line when a step starts and one when it ends. If Snakemake fails,
the reason goes to standard output in one line, and the status is Snakemake's. SIGINT, SIGTERM, SIGHUP and SIGUSR1 end
Snakemake and its steps; the status is then 128 and the number of the signal.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from display import Live, Plain
from workflow_log import Workflow

from fairseq_kd.errors import PREFIX, UserError
from fairseq_kd.report.experiment.reader import read_experiment

PERIOD = 0.5
"""Seconds between two looks at the log."""


def follow(path: Path, offset: int) -> Iterator[list[str]]:
    """The lines that a file gets, again and again."""
    with path.open(encoding="utf-8", errors="replace") as handle:
        handle.seek(offset)
        rest = ""
        while True:
            *lines, rest = (rest + handle.read()).split("\n")
            yield lines


def start(command: list[str], path: Path) -> tuple[subprocess.Popen, int]:
    """Snakemake, which writes to the end of the log; and the place in the log where it begins."""
    # Inherited descriptors stay open: one of them is the lock of the folder.
    with path.open("ab") as log:
        end = log.tell()
        environment = os.environ | {"FAIRSEQ_KD_VERBOSE": "1"}
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets what it starts beside itself ignore it
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, close_fds=False), end


def stop_on_signals(process: subprocess.Popen) -> list[int]:
    """Let signals end Snakemake and the steps that run here; the list gets the signals that came."""
    signals: list[int] = []

    def stop(number: int, _: Any) -> None:
        signals.append(number)
        if number == signal.SIGHUP:  # the terminal may be gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        if number != signal.SIGINT:  # of which the terminal has told them already
            steps = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)  # as Ctrl-C: of SIGTERM Snakemake would wait for its steps
            for step in steps:
                with contextlib.suppress(psutil.NoSuchProcess):
                    step.terminate()

    signal.signal(signal.SIGINT, stop)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        if signal.getsignal(number) != signal.SIG_IGN:  # by nohup
            signal.signal(number, stop)
    return signals


def main(folder: Path, command: list[str]) -> int:
    """Run Snakemake to its end; returns its status, or 128 and the number of a signal."""
    try:
        config = read_experiment(command[command.index("--configfile") + 1], option="")
    except UserError as error:
        print(str(error).removeprefix(PREFIX))
        return 1
    workflow, path = Workflow(folder, config), folder / "workflow.log"
    process, offset = start(command, path)
    signals = stop_on_signals(process)
    with Live() if sys.stderr.isatty() else Plain() as display:
        ended = False
        for lines in follow(path, offset):
            for line in lines:
                for told in workflow.read(line):
                    display.tell(*told)
            if ended:  # these lines were read after Snakemake's end: there will be no more
                break
            display.show(workflow)
            ended = process.poll() is not None
            time.sleep(0 if ended else PERIOD)
    if signals:
        return 128 + signals[0]
    if process.returncode:
        print(workflow.reason())
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
