"""``--patience`` over interruptions: a training's checkpoints hold how many validations were no better than the best.

fairseq counts them in attributes of its function ``should_stop_early``, which a new process lacks: an interrupted
training counted again from none and forgot the best validation.
"""

import sys
from typing import Any

from fairseq.data.iterators import EpochBatchIterator

KEY = "early_stopping"
"""Its place in the state of the training iterator, which fairseq saves, and does not load with --reset-dataloader."""
MODULES = ("fairseq_cli.train", "__main__")
"""Where fairseq-train's function is: the second as ``python -m fairseq_cli.train``."""


def keep_count(iterator: EpochBatchIterator) -> None:
    """Let the state of a training iterator hold fairseq's count, which loading the state sets again."""
    if "load_state_dict" in vars(iterator):  # fairseq asks for one iterator several times
        return
    save, load = iterator.state_dict, iterator.load_state_dict

    def state_dict() -> dict[str, Any]:
        return {**save(), **({KEY: found} if (found := _count()) else {})}

    def load_state_dict(state: dict[str, Any]) -> None:
        load(state)
        _set_count(state.get(KEY) or {})

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
