"""Options of a training that fairseq ignores, or that end in its traceback: one line."""

import json
import os
from typing import Any

import torch
from fairseq.file_io import PathManager

from fairseq_kd.errors import UserError

LAST = "checkpoint_last.pt"
"""fairseq's default of --restore-file, which it takes from --save-dir."""


def refuse_options(cfg: Any) -> None:
    """Check the options of a training, before its optimiser is built.

    Args:
        cfg: fields named as the options. One that is missing is not checked.

    Raises:
        UserError: --restore-file is missing, which fairseq takes for a first start; --eval-bleu-args is no JSON object;
            or --fp16 or --bf16 is given without a GPU.
    """
    _refuse_missing(getattr(cfg, "restore_file", LAST), getattr(cfg, "save_dir", ""))
    _refuse_bleu_args(getattr(cfg, "eval_bleu_args", None) or "{}")
    if torch.cuda.is_available() and not getattr(cfg, "cpu", False):
        return
    for option in ("fp16", "bf16"):
        if getattr(cfg, option, False) and not getattr(cfg, f"memory_efficient_{option}", False):
            raise UserError(f"--{option}: this machine gives no GPU to the training; leave out the option")


def _refuse_missing(checkpoint: str, save_dir: str) -> None:
    """A run that is started again by the same command may name the checkpoint that it will write."""
    if checkpoint == LAST or os.path.abspath(checkpoint) == os.path.abspath(os.path.join(save_dir, LAST)):
        return
    if not PathManager.exists(checkpoint):
        inside = os.path.join(save_dir, checkpoint)
        meant = f"; did you mean {inside}?" if PathManager.exists(inside) else "; give a checkpoint, or leave it out"
        raise UserError(f"--restore-file {checkpoint}: no such file{meant}")


def _refuse_bleu_args(text: str) -> None:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"--eval-bleu-args {text}: no JSON ({error}); write it as '{{\"beam\": 5}}'") from None
    if not isinstance(found, dict):
        raise UserError(f"--eval-bleu-args {text}: no JSON object; write it as '{{\"beam\": 5}}'")
