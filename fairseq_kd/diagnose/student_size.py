"""How many parameters a student has, or would have."""

import shlex
import sys
from pathlib import Path
from typing import NoReturn

from fairseq import options as fairseq_options
from fairseq.tasks.translation import TranslationTask

import fairseq_kd
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import build_models
from fairseq_kd.networks.parameters import count_parameters
from fairseq_kd.networks.second_copies import keep_one_copy

STANDARD_INPUT = "-"


def student_parameters(student: str, task: TranslationTask) -> int:
    """The number of a model's parameters with the task's dictionaries; a tied matrix counts once.

    Args:
        student: a fairseq checkpoint, or a text file (``-``: standard input) with options of fairseq-train. Options
            that are not the architecture's change nothing.
        task: with the dictionaries.

    Raises:
        UserError: there is no such file, fairseq-train refuses the options, or they make no encoder-decoder.
    """
    text = _read_text(student)
    if text is None:
        return count_parameters(build_models([student], task, role="student")[0])
    return count_parameters(_build(text, student, task))


def _read_text(student: str) -> str | None:
    """The file's text; None if it is binary, as a checkpoint is."""
    if student == STANDARD_INPUT:
        return sys.stdin.read()
    if not Path(student).is_file():
        raise UserError(
            f"--student {student}: no such file; give a checkpoint or a text file with options of fairseq-train"
        )
    content = Path(student).read_bytes()
    try:
        return None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None


def _build(text: str, student: str, task: TranslationTask):  # type: ignore[no-untyped-def]
    def refuse(message: object) -> NoReturn:
        raise UserError(f"--student {student}: {message}") from None

    fairseq_kd.register()  # the options may name the plugin's task and criterions
    parser = fairseq_options.get_training_parser()
    parser.error = refuse  # type: ignore[method-assign, assignment]
    try:
        words = shlex.split(text, comments=True)
        if not any(word.split("=")[0] in ("--arch", "-a") for word in words):
            refuse("names no --arch; give the options with which fairseq-train makes the student")
        architecture = fairseq_options.parse_args_and_arch(parser, input_args=[task.cfg.data, *words])
        model = task.build_model(architecture)
    except Exception as error:  # whatever fairseq thinks of an option's value: ValueError, AssertionError, …
        refuse(error)
    if not hasattr(model, "encoder") or not hasattr(model, "decoder"):
        refuse(f"{architecture.arch!r} is not an encoder-decoder")
    keep_one_copy(model)
    return model
