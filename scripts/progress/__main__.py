"""Run Snakemake and show one line for each running step.

    python scripts/progress FOLDER snakemake OPTIONS…

Snakemake's output and that of all steps go to FOLDER/workflow.log. The progress goes to standard error: on a terminal
one live line for each running step, elsewhere a plain line when a step starts and one when it ends. If Snakemake fails,
the reason goes to standard output in one line, and the status is Snakemake's.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from display import Live, Plain
from workflow_log import Workflow

from fairseq_kd.errors import PREFIX, UserError
from fairseq_kd.report.experiment import read_experiment

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


def main(folder: Path, command: list[str]) -> int:
    """Run Snakemake to its end; returns its status."""
    try:
        config = read_experiment(command[command.index("--configfile") + 1], option="")
    except UserError as error:
        print(str(error).removeprefix(PREFIX))
        return 1
    workflow, path = Workflow(folder, config), folder / "workflow.log"
    # Inherited descriptors stay open: one of them is the lock of the folder.
    with path.open("ab") as log:
        offset = log.tell()
        environment = os.environ | {"FAIRSEQ_KD_VERBOSE": "1"}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, close_fds=False)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    interrupts: list[int] = []  # the terminal interrupts Snakemake too, and this waits for its end
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
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
    if process.returncode:
        print("interrupted" if interrupts else workflow.reason())
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
