"""fairseq's commands in processes forked from one that has imported fairseq already.

The import takes some four seconds of processor time, more than a tiny training. What runs is the command's own entry
point with its own arguments, environment and output; the plugin is imported by the command, as ever. Only the
interpreter's shutdown is left out.
"""

import importlib
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

COMMANDS = {
    f"fairseq-{verb}": f"fairseq_cli.{verb}:cli_main" for verb in ("preprocess", "train", "generate", "validate")
}
COMMANDS["fairseq-kd"] = "fairseq_kd.cli:main"
"""The entry point behind each command."""
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["fairseq", "sacrebleu", "sentencepiece"])


def call(words: list[str], environment: dict[str, str], output: list[str]) -> None:
    """In the forked process: the command, with stdout and stderr in the two files of ``output``."""
    for number, path in zip((1, 2), output, strict=True):
        os.dup2(os.open(path, os.O_WRONLY), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, environment["PYTHONPATH"])
    sys.argv = words
    # Set up by the import of fairseq; the commands do it before that, each its own way.
    logging.getLogger().handlers.clear()
    module, function = COMMANDS[Path(words[0]).name].split(":")
    getattr(importlib.import_module(module), function)()


def run_forked(words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What :func:`subprocess.run` of these words returns, its output as text."""
    with tempfile.NamedTemporaryFile("r") as stdout, tempfile.NamedTemporaryFile("r") as stderr:
        process = SERVER.Process(target=call, args=(words, environment, [stdout.name, stderr.name]))
        process.start()
        process.join()
        return subprocess.CompletedProcess(words, process.exitcode, stdout.read(), stderr.read())
