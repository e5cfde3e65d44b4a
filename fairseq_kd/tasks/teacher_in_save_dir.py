"""A teacher whose file the student's training would replace: one of the checkpoints in its own folder."""

from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.networks.resume import OF_A_TRAINING
from fairseq_kd.storage.files import split_paths


def refuse_teacher_in_save_dir(cfg: Any) -> None:
    """Check that no --teacher-path is a checkpoint in --save-dir.

    fairseq-train would start the student from that folder's last checkpoint, and save the student over the teacher. A
    resumed training would then learn from the student.

    Args:
        cfg: the options of a task with a teacher.

    Raises:
        UserError: one is.
    """
    if not getattr(cfg, "save_dir", None):  # a task from Python may have none
        return
    folder = Path(cfg.save_dir).resolve()
    for path in map(Path, split_paths(cfg.teacher_path or "")):
        for file in (path, path.resolve()):
            if OF_A_TRAINING.fullmatch(file.name) and file.parent.resolve() == folder:
                raise UserError(
                    f"--teacher-path {path}: this training writes its checkpoints to {cfg.save_dir}, and "
                    "may replace the teacher; give another --save-dir"
                )
