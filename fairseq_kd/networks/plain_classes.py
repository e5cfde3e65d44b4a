"""The classes of plain data in fairseq's checkpoints, under every name that a release has given them.

``torch.load(weights_only=True)`` builds nothing else. What fairseq has put into a checkpoint beside tensors, dicts and
lists, with the place in its source that did so. Each line was read in the releases 0.6.0, 0.6.2, 0.7.2, 0.8.0, 0.9.0,
0.10.2 and 0.12.2 and on the main branch at 3d262bb. tests/stored/generations holds a sample that each of these trained,
and main of November 2020. No pickle there names anything else.

- ``argparse.Namespace``: the options, in "args" up to 0.10.2 (``utils.save_state``, ``checkpoint_utils.save_state``)
  and within "cfg" later (``dataclass.utils.convert_namespace_to_omegaconf``);
- ``AverageMeter``, ``TimeMeter`` and ``StopwatchMeter`` of ``fairseq.meters``: 0.6 to 0.9, in
  ``extra_state["train_meters"]`` (``Trainer.save_checkpoint``). 0.10 and later save their states alone, in
  ``extra_state["metrics"]`` (``metrics.state_dict``);
- numpy's arrays and numbers: 0.10 and later with ``--eval-bleu``, as such a state, and as ``best``
  (``tasks.translation.reduce_metrics``, ``checkpoint_utils.save_checkpoint``);
- ``omegaconf.DictConfig``, its nodes and metadata: main from October 2020 (3b27ed79) to March 2021, in "cfg"
  (``checkpoint_utils.save_state``). 0.12 and later save a dict (``Trainer.state_dict``), and the enumerations in it as
  texts (62ccebaf);
- ``fairseq.data.Dictionary``: main from February 2021 (66e1803c) and 0.12, in "task_state"
  (``FairseqTask.state_dict``), by the tasks for speech and classification.

numpy 2 calls ``numpy.core`` what it now keeps in ``numpy._core``; a file names the module of the numpy that wrote it.
"""

import _codecs
import argparse
import functools
import inspect
import typing
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary
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
    plain += [distributed_utils._TensorPlaceholder, Dictionary]
    plain += [np.dtype, np.ndarray, *number_types]
    plain.append(_codecs.encode)  # pickle's protocol 2 writes the bytes of a number so; torch allows it from 2.5 on
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
