"""Trainings that earlier versions began, in which g was the share of the sentence-level loss."""

from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.tasks.option_mistakes import LAST

MEANT = {
    "fixed": ("gate_value",),
    "learned": ("gate_value",),
    "schedule": ("gate_start", "gate_end"),
}
"""The options of each gate that are values of g. The other gates have none, or are none of an earlier version."""
SINCE = "gate_token_prefixes"
"""An option of ``hybrid_kd`` that checkpoints record since g is the share of the token-level loss."""


def refuse_turned(cfg: Any, task_cfg: Any) -> None:
    """Refuse a value of g that a training was begun with when g meant the opposite.

    Args:
        cfg: options of ``hybrid_kd``.
        task_cfg: options of the task, which name the checkpoint that the training goes on from, if there is one.

    Raises:
        UserError: such a value is given again. Its meaning would change in the middle of the training.
    """
    save_dir, restored = getattr(task_cfg, "save_dir", None), getattr(task_cfg, "restore_file", LAST)
    if not save_dir:  # a task from Python may have none
        return
    checkpoint = Path(save_dir, LAST) if restored == LAST else Path(restored)
    if not checkpoint.is_file():
        return
    recorded: Any = getattr(read_checkpoint(checkpoint, on_disk=True)["cfg"], "criterion", None)
    gate = str(cfg.gate)
    if getattr(recorded, "_name", None) != "hybrid_kd" or SINCE in recorded or str(recorded.gate) != gate:
        return
    for name in MEANT.get(gate, ()):
        before, option = float(recorded[name]), f"--{name.replace('_', '-')}"
        if getattr(cfg, name) == before != 0.5:
            raise UserError(
                f"{option} {before}: {checkpoint} was trained by an earlier version, in which g was the share of the "
                f"sentence-level loss; to go on as before, give {option} {round(1 - before, 6)} (to scripts/train.sh "
                "with another folder and --restore-file)"
            )
