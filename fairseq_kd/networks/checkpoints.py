"""Reading fairseq checkpoints without running code, and telling in one line what is wrong with a bad one.

fairseq reads checkpoints with ``torch.load``. torch ≥ 2.6 refuses by default whatever is not plain data, which
includes the ``argparse.Namespace`` in every fairseq checkpoint: the harmless classes that fairseq stores are
allow-listed here. Older torch runs whatever the pickle asks for: what this package reads, teachers included, is read
with ``weights_only=True`` before fairseq sees it. (fairseq's own commands do not do so: under torch 2.4 and 2.5 their
--path and --restore-file are as safe as the file.)
"""

import argparse
import inspect
import logging
import re
import typing
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import meters
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask
from omegaconf import DictConfig, ListConfig, OmegaConf, base, nodes

from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import whole_file

logger = logging.getLogger(__name__)


def allow_fairseq_classes() -> None:
    """Let ``torch.load(weights_only=True)`` build the plain-data classes that fairseq checkpoints hold."""
    meter_classes = [
        item for _, item in inspect.getmembers(meters, inspect.isclass) if item.__module__ == meters.__name__
    ]
    # How numpy pickles numbers and arrays; the module it names differs between numpy 1 and 2.
    builders = [np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]]
    number_types = [type(np.dtype(code)) for code in "?bhilqBHILQefd"]
    plain: list[Any] = [argparse.Namespace, dict, list, int, defaultdict, typing.Any]
    plain += [DictConfig, ListConfig, base.ContainerMetadata, base.Metadata, nodes.AnyNode]
    # With several processes the first one reads a checkpoint and sends it to the others, its tensors apart.
    plain.append(distributed_utils._TensorPlaceholder)
    plain += [np.dtype, np.ndarray, *builders, *number_types, *meter_classes]
    torch.serialization.add_safe_globals(plain)


# Before anything reads a checkpoint: fairseq itself does so as soon as the plugin is registered.
allow_fairseq_classes()


def read_checkpoint(path: str | Path, role: str = "checkpoint") -> dict[str, Any]:
    """A fairseq checkpoint's content on the CPU, ``state["cfg"]`` its configuration in fairseq's present form.

    Args:
        path: the file.
        role: what to call it in an error ("teacher", "model").

    Raises:
        UserError: it is missing, cut short, no fairseq checkpoint, or its pickle would run code (it is not run).
    """
    check_checkpoint(path, role)
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    if state.get("cfg") is None:
        state["cfg"] = convert_namespace_to_omegaconf(state["args"])
    return state


def check_checkpoint(path: str | Path, role: str = "checkpoint") -> dict[str, Any]:
    """What is in ``path`` as it was saved, its tensors still on disk where the format allows that.

    Raises:
        UserError: it is no whole fairseq checkpoint that loads without running code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{role} {path}: no such file; give the path of a fairseq checkpoint (.pt)")
    try:
        with open(path, "rb") as handle:
            zipped = handle.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise UserError(f"{role} {path}: cannot be read: {error.strerror}") from None
    try:
        # mmap leaves the tensors on disk: a check costs milliseconds whatever the model's size.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:
        raise _explain(path, role, zipped, error) from None
    known = isinstance(state, dict) and "model" in state and (state.get("cfg") or state.get("args"))
    if not known:
        raise UserError(f"{role} {path}: no fairseq checkpoint (it lacks the model or its configuration)")
    return state


def model_config(path: str | Path, role: str = "checkpoint") -> Any:
    """The configuration of the checkpoint's model, read without its weights: a Namespace, or a DictConfig (Hydra).

    Raises:
        UserError: as :func:`check_checkpoint`.
    """
    state = check_checkpoint(path, role)
    cfg = state.get("cfg") or convert_namespace_to_omegaconf(state["args"])
    return OmegaConf.create(cfg["model"]) if isinstance(cfg["model"], dict) else cfg["model"]


def _explain(path: Path, role: str, zipped: bool, error: Exception) -> UserError:
    unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
    if unsafe:
        return UserError(
            f"{role} {path}: refused and not run: its pickle asks for {unsafe[1]}, which no fairseq checkpoint needs; "
            "get the file from its maker again or save it anew"
        )
    if zipped:
        return UserError(f"{role} {path}: cut short or damaged ({path.stat().st_size} bytes); copy or train it again")
    return UserError(f"{role} {path}: not a whole fairseq checkpoint; give the .pt file that fairseq-train wrote")


def build_models(
    paths: Sequence[str | Path], task: TranslationTask, role: str = "checkpoint"
) -> list[BaseFairseqModel]:
    """The models of ``paths`` with ``task``'s dictionaries: float32, on the CPU, in eval mode, their parameters frozen.

    Raises:
        UserError: as :func:`read_checkpoint`, or the weights do not fit the dictionaries, or the architecture is
            unknown or no encoder-decoder.
    """
    models = []
    for path in paths:
        state = read_checkpoint(path, role)
        architecture = getattr(state["cfg"].model, "_name", None) or getattr(state["cfg"].model, "arch", "?")
        try:
            (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)], task=task, state=state)
        except RuntimeError as error:
            sizes = re.search(r"size mismatch for (\S+): .*?\[(\d+)[^\]]*\].*?\[(\d+)", str(error))
            detail = (
                f"{sizes[1]} has {sizes[2]} rows, the data's dictionary asks for {sizes[3]}" if sizes else str(error)
            )
            raise UserError(
                f"{role} {path}: its weights do not fit: {detail}; give the data-bin it was trained on"
            ) from None
        except Exception as error:
            raise UserError(f"{role} {path}: cannot build its architecture {architecture!r}: {error}") from None
        if not hasattr(model, "encoder") or not hasattr(model, "decoder"):
            raise UserError(f"{role} {path}: {architecture!r} is no encoder-decoder")
        models.append(model.float().eval().requires_grad_(False))
    return models


def count_parameters(model: BaseFairseqModel) -> int:
    """How many parameters ``model`` has: a tied matrix counts once, buffers (sinusoidal positions) not at all."""
    return sum(parameter.numel() for parameter in model.parameters())


def newest_sound_checkpoint(folder: str | Path) -> Path | None:
    """The checkpoint in ``folder`` to resume from: the newest that is whole, or None.

    fairseq writes one file and copies it to the other names of the same state. The copies, checkpoint_last.pt as a
    rule, can be cut short by a kill; the file they were made from is whole.
    """
    candidates = Path(folder).glob("checkpoint*.pt")
    # Of equally old files the one fairseq resumes from by itself comes first.
    for path in sorted(candidates, key=lambda p: (p.stat().st_mtime, p.name == "checkpoint_last.pt"), reverse=True):
        try:
            check_checkpoint(path)
        except UserError as error:
            logger.warning("passed over: %s", error)
            continue
        return path
    return None


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
