"""The classes of plain data in fairseq's checkpoints, under every name that a release has given them.

``torch.load(weights_only=True)`` builds nothing else. What fairseq has put into a checkpoint beside tensors, by
``Trainer.state_dict`` and ``checkpoint_utils`` in its releases:

- all releases: ``argparse.Namespace`` with the options;
- 0.6 to 0.9: meters, in ``extra_state["train_meters"]``, from the module ``fairseq.meters``;
- 0.10 and later: meters' states, in ``extra_state["metrics"]``; with ``--eval-bleu`` they hold numpy's arrays;
- main from October 2020 on: ``omegaconf.DictConfig`` with the options.

numpy 2 calls ``numpy.core`` what it now keeps in ``numpy._core``; a file names the module of the numpy that wrote it.
"""

import argparse
import functools
import inspect
import typing
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import meters
from omegaconf import DictConfig, ListConfig, base, nodes

MODULES = {
    "fairseq.logging.meters": ("fairseq.meters",),
    "numpy._core.multiarray": ("numpy.core.multiarray",),
    "numpy.core.multiarray": ("numpy._core.multiarray",),
}
"""Other names of a module, by the name that it has in the installed releases."""


def allow_plain_classes() -> None:
    """Let ``torch.load(weights_only=True)`` build the plain-data classes that fairseq checkpoints hold."""
    meter_classes = [
        item for _, item in inspect.getmembers(meters, inspect.isclass) if item.__module__ == meters.__name__
    ]
    builders: list[Any] = [
        np.float64(0).__reduce__()[0],
        np.zeros(1).__reduce__()[0],
    ]  # how numpy pickles numbers and arrays
    number_types = [type(np.dtype(code)) for code in "?bhilqBHILQefd"]
    node_classes = [item for _, item in inspect.getmembers(nodes, inspect.isclass) if issubclass(item, nodes.ValueNode)]
    plain: list[Any] = [argparse.Namespace, dict, list, int, str, float, bool, defaultdict, typing.Any]
    plain += [DictConfig, ListConfig, base.ContainerMetadata, base.Metadata, *node_classes]
    # With several processes the first one reads a checkpoint and sends it to the others, its tensors apart.
    plain.append(distributed_utils._TensorPlaceholder)
    plain += [np.dtype, np.ndarray, *number_types]
    renamed: list[Any] = [
        _under_name(item, module) for item in [*builders, *meter_classes] for module in MODULES.get(item.__module__, ())
    ]
    torch.serialization.add_safe_globals([*plain, *builders, *meter_classes, *renamed])


def _under_name(item: Any, module: str) -> Any:
    """``item`` as a class or function of another module. torch finds it by its module and name, in every release."""
    if inspect.isclass(item):
        return type(item.__name__, (item,), {"__module__": module})

    @functools.wraps(item, updated=())
    def call(*args: Any) -> Any:
        return item(*args)

    call.__module__ = module
    return call
