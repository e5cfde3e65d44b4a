"""Which checkpoint in a training's folder the training goes on from."""

import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq.checkpoint_utils import save_checkpoint
from fairseq.logging.meters import MetersDict
from omegaconf import open_dict

from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import check_checkpoint, read_checkpoint
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


def finish_saving(folder: str | Path, newest: Path) -> None:
    """Do what a killed training had still to do after it wrote its newest checkpoint: copy it, delete older ones.

    fairseq writes a state to one file, copies that to the other names of the state, and then deletes what
    ``--keep-last-epochs`` and its like do not keep. After a kill in between, checkpoint_best.pt would stay that of an
    earlier epoch. fairseq's own function runs again, with the options that the checkpoint recorded.

    Args:
        folder: the training's ``--save-dir``.
        newest: what :func:`newest_sound_checkpoint` found there.

    Raises:
        OSError: a file cannot be written.
    """
    state = read_checkpoint(newest, on_disk=True)
    options, reached = state["cfg"].checkpoint, state.get("extra_state") or {}
    measure = str(options.best_checkpoint_metric)
    if "train_iterator" not in reached or not re.fullmatch(r"[\w.-]*", measure):  # a part of file names
        return
    score = reached.get("val_loss")
    with open_dict(options):
        options.save_dir = str(folder)
        if newest.name == "checkpoint_last.pt":
            # The name that is written last: the copies are there. No name is due, only what is to be deleted.
            score, options.save_interval_updates = None, 0
            options.no_epoch_checkpoints = options.no_last_checkpoints = True
    vars(save_checkpoint).pop("best", None)
    if "best" in reached:
        save_checkpoint.best = reached["best"]
    try:
        save_checkpoint(options, _Saved(newest, _progress(state)[0]), _Reached(reached["train_iterator"]), score)
    finally:
        vars(save_checkpoint).pop("best", None)


def reached_max_update(newest: Path, max_update: int) -> bool:
    """Whether the newest checkpoint has all updates of a training with this --max-update, which is 0 for no limit.

    fairseq-train looks at --max-update only after an update, so that it would do one more.
    """
    return 0 < max_update <= _progress(check_checkpoint(newest))[0]


def epoch_line(newest: Path, ended: bool) -> str | None:
    """What fairseq-train logs of an epoch, ``| train | epoch 003 | loss 4.1 | … | num_updates 51``.

    fairseq logs it after it saved the epoch's end, so that a kill in between loses it; nobody trains that epoch again.
    Its figures are in the checkpoint. None if ``newest`` has no figures, or is a state within an epoch and the training
    has not ``ended`` there.
    """
    reached = check_checkpoint(newest).get("extra_state") or {}
    iterator, saved = reached.get("train_iterator"), (reached.get("metrics") or {}).get("train")
    if not (iterator and saved):
        return None
    where = _Reached(iterator)
    if not (where.end_of_epoch() or ended):
        return None
    figures = MetersDict()
    figures.load_state_dict(saved)
    words = [f"{name} {value}" for name, value in figures.get_smoothed_values().items()]
    return " | ".join(["| train", f"epoch {where.epoch:03d}", *words])


class _Saved:
    """A state that was saved, in the place of the trainer that fairseq's function asks to save it."""

    data_parallel_rank, checkpoint_suffix, should_save_checkpoint_on_current_rank = 0, "", True
    task = None

    def __init__(self, path: Path, updates: int):
        self.path, self.updates = path, updates

    def consolidate_optimizer(self) -> None:
        """Nothing: the state is on disk."""

    def get_num_updates(self) -> int:
        return self.updates

    def save_checkpoint(self, name: str, _: dict[str, Any]) -> str:
        """Copy the state to its first name, which it has as a rule."""
        if not (Path(name).exists() and self.path.samefile(name)):
            with whole_file(name, "wb") as handle, open(self.path, "rb") as saved:
                shutil.copyfileobj(saved, handle)
        return name


class _Reached:
    """Where the training's batches were, in the place of fairseq's iterator over them."""

    def __init__(self, saved: Mapping[str, Any]):
        self.saved = saved
        # fairseq saves the end of an epoch as the start of the next one.
        self.epoch = saved["epoch"] - self.end_of_epoch()

    def end_of_epoch(self) -> bool:
        return self.saved.get("iterations_in_epoch", 0) == 0

    def state_dict(self) -> Mapping[str, Any]:
        return self.saved
