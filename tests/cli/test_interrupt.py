"""Ctrl-C ends a verb at once, in one line, and by the signal; so does a reader that has enough, without a line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.commands import environment


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_the_next_run_goes_on(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    words = ["fairseq-kd", "decode", "--model", tiny_teacher, "--data", tiny_corpus, "--output", tmp_path / "out"]
    words += ["--engine", "fairseq", "--block-rows", "1", "--max-len-b", "100"]
    running = subprocess.Popen(
        [str(word) for word in words],
        env=environment(forked=False),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.glob("out/parts/train-*.tsv")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    stdout, stderr = running.communicate(timeout=30)
    assert running.returncode == -signal.SIGINT and stdout == ""
    assert stderr.splitlines()[-1] == "fairseq_kd: interrupted" and "Traceback" not in stderr
    assert not (tmp_path / "out" / "train.tgt").exists()
    before = len(list(tmp_path.glob("out/parts/train-*.tsv")))
    done = subprocess.run(
        [str(word) for word in words], env=environment(forked=False), capture_output=True, text=True, check=True
    )
    rows = len((tmp_path / "out" / "train.tgt").read_text().splitlines())
    assert f"{rows - before} of {rows} rows to decode" in done.stderr and before > 0


@pytest.mark.parametrize("buffered", ["", "1"])
def test_who_reads_the_output_may_stop(buffered: str) -> None:
    """As in `fairseq-kd run --show multi30k | head -n 1`."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as output:
        variables = {**environment(forked=False), "PYTHONUNBUFFERED": buffered}
        words = ["fairseq-kd", "run", "--show", "multi30k"]
        done = subprocess.run(words, env=variables, stdout=output, stderr=subprocess.PIPE, text=True)
    assert done.stderr == "" and done.returncode == -signal.SIGPIPE


def test_nobody_needs_to_read_the_output() -> None:
    words = ["bash", "-c", "fairseq-kd run --show multi30k >&-"]
    done = subprocess.run(words, env=environment(forked=False), stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_at_the_import_of_a_library(tmp_path: Path) -> None:
    """torch catches whatever the import of numpy raises. The verb went on with half of numpy, to a traceback."""
    program = """
import signal, sys
from contextlib import suppress
from fairseq_kd.cli.command_line import main

class Finder:
    def find_spec(name, *_):
        if name == "torch":
            with suppress(BaseException):
                signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder)
main(["merge", "none"])
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment(forked=False), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "fairseq_kd: interrupted\n")
