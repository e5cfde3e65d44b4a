"""Options of a training that fairseq ignores, or that end in its traceback: one line."""

import json
import os
from dataclasses import fields
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.dataclass.configs import GenerationConfig
from fairseq.file_io import PathManager

from fairseq_kd.errors import UserError
from fairseq_kd.networks.resume import OF_A_TRAINING
from fairseq_kd.storage.files import split_paths

LAST = "checkpoint_last.pt"
"""fairseq's default of --restore-file, which it takes from --save-dir."""


def refuse_options(cfg: Any) -> None:
    """Check the options of a training, before its model is built.

    Args:
        cfg: fields named as the options. One that is missing is not checked.

    Raises:
        UserError: --restore-file is missing, which fairseq takes for a first start. A --teacher-path is a checkpoint in
            --save-dir. An argument of --eval-bleu cannot be read, or fairseq would ignore it. --num-batch-buckets
            is given with a numpy that fairseq's buckets cannot use, --bf16 without a TPU, or --fp16 without a GPU.
    """
    save_dir = getattr(cfg, "save_dir", None)
    if save_dir:  # a task from Python may have none
        _refuse_missing(getattr(cfg, "restore_file", LAST), save_dir)
        _refuse_teacher_in(save_dir, cfg.teacher_path or "")
    if getattr(cfg, "eval_bleu", False):
        _refuse_bleu_arguments(cfg)
    old_names = hasattr(np, "compat") and "interpolation" in signature(np.percentile).parameters
    if getattr(cfg, "num_batch_buckets", 0) and not old_names:
        raise UserError(
            f"--num-batch-buckets: fairseq's buckets cannot use numpy {np.__version__}; leave out the option"
        )
    # fairseq-hydra-train does not set tpu for bf16.
    if getattr(cfg, "tpu", False) and cfg.bf16 and utils.xm is None:
        raise UserError(
            "--bf16: fairseq-train takes it to mean a TPU, and torch_xla is missing; on a GPU give --fp16 or --amp"
        )
    without_gpu = getattr(cfg, "cpu", False) or not torch.cuda.is_available()
    if getattr(cfg, "fp16", False) and without_gpu and not getattr(cfg, "memory_efficient_fp16", False):
        raise UserError("--fp16: this machine gives no GPU to the training; leave out the option")


def _refuse_missing(checkpoint: str, save_dir: str) -> None:
    """A run that is started again by the same command may name the checkpoint that it will write."""
    if checkpoint == LAST or os.path.abspath(checkpoint) == os.path.abspath(os.path.join(save_dir, LAST)):
        return
    if not PathManager.exists(checkpoint):
        inside = os.path.join(save_dir, checkpoint)
        meant = f"; did you mean {inside}?" if PathManager.exists(inside) else "; give a checkpoint, or leave it out"
        raise UserError(f"--restore-file {checkpoint}: no such file{meant}")


def _refuse_teacher_in(save_dir: str, teacher_path: str) -> None:
    """The student would start from that folder's last checkpoint, and be saved over the teacher.

    A resumed training would then learn from the student.
    """
    folder = Path(save_dir).resolve()
    for path in map(Path, split_paths(teacher_path)):
        for file in (path, path.resolve()):
            if OF_A_TRAINING.fullmatch(file.name) and file.parent.resolve() == folder:
                raise UserError(
                    f"--teacher-path {path}: this training writes its checkpoints to {save_dir}, and may replace the "
                    "teacher; give another --save-dir"
                )


def _refuse_bleu_arguments(cfg: Any) -> None:
    """fairseq ends in a traceback where one is no JSON, and ignores an argument of another name."""
    given = _json_map(cfg, "eval_bleu_args")
    _json_map(cfg, "eval_bleu_detok_args")
    known = [field.name for field in fields(GenerationConfig)]
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            advice = f"did you mean {near[0]}?" if near else "give options of fairseq-generate's search, such as beam"
            raise UserError(f"--eval-bleu-args knows no {name!r}; {advice}")


def _json_map(cfg: Any, option: str) -> dict[str, Any]:
    text = getattr(cfg, option, None) or "{}"
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"--{option.replace('_', '-')} {text}: no JSON map; give for example '{{\"beam\": 1}}'")
    return found
