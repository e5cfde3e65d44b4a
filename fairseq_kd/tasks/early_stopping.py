"""What a training has come to over interruptions: the best validation, and how many since were no better.

fairseq counts for ``--patience`` in attributes of its function ``should_stop_early``, which a new process lacks: an
interrupted training counted again from none and forgot the best validation. The best of ``checkpoint_best.pt`` comes
back with fairseq's own state, but that does not tell which figure it is of.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Any

from fairseq.checkpoint_utils import save_checkpoint
from fairseq.data.iterators import EpochBatchIterator

logger = logging.getLogger(__name__)

KEY = "early_stopping"
"""The count's key in the state of the training iterator. fairseq saves it; --reset-dataloader leaves it unloaded."""
MODULES = ("fairseq_cli.train", "__main__")
"""Where fairseq-train's function is: the second as ``python -m fairseq_cli.train``."""


def keep_count(iterator: EpochBatchIterator, measure: Sequence[Any]) -> None:
    """Let the state of a training iterator hold fairseq's count, which loading the state sets again.

    Without fairseq's best validation, as after --reset-meters, the count starts anew. Where the best is of another
    figure, both start anew.

    Args:
        iterator: of the training set.
        measure: --best-checkpoint-metric, and whether its highest value is the best.
    """
    if "load_state_dict" in vars(iterator):  # fairseq asks for one iterator several times
        return
    save, load = iterator.state_dict, iterator.load_state_dict

    def state_dict() -> dict[str, Any]:
        return {**save(), KEY: {**_count(), "measure": list(measure)}}

    def load_state_dict(state: dict[str, Any]) -> None:
        load(state)
        count = dict(state.get(KEY) or {})
        before = count.pop("measure", list(measure))  # earlier checkpoints do not tell
        if before != list(measure) and vars(save_checkpoint).pop("best", None) is not None:
            logger.warning(
                "--best-checkpoint-metric %s: the checkpoint's best validation is of %s%s; the search for the best "
                "starts anew",
                measure[0], before[0], "" if before[0] != measure[0] else ", best in the other direction",
            )  # fmt: skip
        if hasattr(save_checkpoint, "best"):
            _set_count(count)

    iterator.state_dict, iterator.load_state_dict = state_dict, load_state_dict  # type: ignore[method-assign]


def validations_without_gain() -> int:
    """How many validations were no better than the best before them, over all runs of the training."""
    return int(_count().get("num_runs", 0))


def _counter() -> Any:
    found = (getattr(sys.modules.get(name), "should_stop_early", None) for name in MODULES)
    return next((function for function in found if function is not None), None)


def _count() -> dict[str, Any]:
    """fairseq's attributes; none without --patience, and before the first validation."""
    counter = _counter()
    return {name: getattr(counter, name) for name in ("best", "num_runs") if hasattr(counter, name)}


def _set_count(count: dict[str, Any]) -> None:
    counter = _counter()
    for name, value in count.items():
        setattr(counter, name, value)
