"""Which checkpoint in a training's folder the training goes on from."""

import logging
import re
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import check_checkpoint
from fairseq_kd.storage.files import whole_file

logger = logging.getLogger(__name__)

AVERAGED = "averaged"
"""The key of ``extra_state`` that marks the mean of several checkpoints, from which no training goes on."""
OF_A_TRAINING = re.compile(r"checkpoint(_last|_best|\d+|_\d+_\d+|\.best_.+)\.pt")
"""The names that fairseq-train gives to its states. Other files, such as ``checkpoint.avg5.pt``, are no state of it."""


def newest_sound_checkpoint(folder: str | Path) -> Path | None:
    """The checkpoint in ``folder`` to resume from: the one with most updates done that is whole, or None.

    The number of updates is read from each file, since dates change when a folder is copied. fairseq writes one file
    and copies it to the other names of the same state. The copies, checkpoint_last.pt as a rule, can be cut short by a
    kill; the file they were made from is whole. Means of checkpoints, files of other names and checkpoints without the
    optimizer's state are passed over.
    """
    found: list[tuple[tuple[int, int, int], Path]] = []
    for path in sorted(Path(folder).glob("checkpoint*.pt")):
        try:
            state = check_checkpoint(path)
        except UserError as error:
            logger.warning("passed over: %s", error)
            continue
        if not OF_A_TRAINING.fullmatch(path.name) or AVERAGED in (state.get("extra_state") or {}):
            logger.warning("passed over: %s is a mean of checkpoints or another file, no state of a training", path)
            continue
        if state.get("last_optimizer_state") is None:
            # fairseq would count updates from 0 again, with the learning rate of the first
            logger.warning(
                "passed over: %s has no optimizer state (--no-save-optimizer-state), so no training goes on from it; "
                "a new training can start from it with --finetune-from-model",
                path,
            )
            continue
        found.append(((*_progress(state), _rank(path.name)), path))
    return max(found)[1] if found else None


def _progress(state: dict[str, Any]) -> tuple[int, int]:
    """The updates done and the epoch, as the training recorded them; zeros where a file lacks them."""
    history, iterator = state.get("optimizer_history"), (state.get("extra_state") or {}).get("train_iterator")
    updates = history[-1].get("num_updates") if isinstance(history, list) and history else 0
    return int(updates or 0), int((iterator or {}).get("epoch") or 0)


def _rank(name: str) -> int:
    """Of equal states the one that fairseq resumes from by itself comes first, then a numbered one."""
    if name == "checkpoint_last.pt":
        return 2
    return 0 if "best" in name else 1


def repair_copies(folder: str | Path, sound: Path) -> None:
    """Put ``sound`` in the place of checkpoint_best.pt where that is damaged.

    fairseq was copying the newest file to it when it was killed, and would write it again only for a better one.
    """
    best = Path(folder, "checkpoint_best.pt")
    if not best.exists():
        return
    try:
        check_checkpoint(best)
    except UserError:
        with whole_file(best, "wb") as handle:
            handle.write(sound.read_bytes())
