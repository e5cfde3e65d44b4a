"""Checkpoints as small as their non-zero weights: ``pack`` and its inverse, ``unpack``.

A packed checkpoint is a gzip'd ``torch.save`` of the same dictionary. Each tensor with enough zeros becomes a bitmap of
one bit per entry and its non-zero values. A tied matrix is kept once.
"""

import copy
import gzip
import io
import logging
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairseq_kd.errors import UserError
from fairseq_kd.networks.parameters import tied_names
from fairseq_kd.storage.files import whole_file

logger = logging.getLogger(__name__)

GZIP = b"\x1f\x8b"
KEPT = ("args", "cfg", "model", "criterion", "optimizer_history", "task_state")
"""What a checkpoint has besides the state of its training."""
NO_UPDATES = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
"""The entry of ``optimizer_history`` of a checkpoint that no training has written; fairseq looks it up to resume."""
STARTS = {
    "restore_file": "checkpoint_last.pt",
    "finetune_from_model": None,
    "optimizer_overrides": "{}",
    **dict.fromkeys(("reset_dataloader", "reset_lr_scheduler", "reset_meters", "reset_optimizer"), False),
}
"""Options of fairseq that say where a training starts, at their defaults."""


def untrained(state: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint without the state of its training, which begins anew at epoch 1.

    Nothing tells how often the training was interrupted, so that a resumed training gives the bytes of an unbroken one.
    Tied matrices share their memory, so that torch.save stores them once. The model stands in for its average: fairseq
    reads the average (``--store-ema``) of every checkpoint that it goes on from, and fails where there is none.
    """
    kept = {key: state[key] for key in KEPT if key in state}
    kept |= {key: _unstarted(kept[key]) for key in ("args", "cfg") if kept.get(key)}
    # fairseq reads the last entry; each start of a training adds one.
    if history := kept.get("optimizer_history"):
        kept["optimizer_history"] = history[-1:]
    model = dict(state["model"])
    # A checkpoint saved on a GPU holds tied matrices several times over.
    model |= {name: model[first] for first, names in tied_names(model).items() for name in names}
    fresh = {"epoch": 1, "iterations_in_epoch": 0, "version": 2}
    return {**kept, "model": model, "extra_state": {"train_iterator": fresh, "ema": model}}


def _unstarted(settings: Any) -> Any:
    """A copy of a checkpoint's settings (``args`` or ``cfg``), with :data:`STARTS` for the options that it has."""
    settings = copy.deepcopy(settings)
    # fairseq keeps the command line a second time in cfg.model, and the plugin's task has some options of others.
    names = ("checkpoint", "model", "task")
    sections = [settings] if isinstance(settings, Namespace) else [settings.get(name) for name in names]
    for section in sections:
        options = vars(section) if isinstance(section, Namespace) else section or {}
        for name in options.keys() & STARTS.keys():
            options[name] = STARTS[name]
    return settings


def to_bytes(state: Mapping[str, Any]) -> bytes:
    """The file that torch.save writes."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def pack(state: Mapping[str, Any]) -> bytes:
    """A checkpoint as :func:`untrained` gives it, packed."""
    model, tied = state["model"], tied_names(state["model"])
    packed: dict[str, Any] = {name: _pack_tensor(tensor) for name, tensor in model.items()}
    packed |= {other: first for first, names in tied.items() for other in names[1:]}
    rest = {key: state[key] for key in state if key not in ("model", "extra_state")}
    # mtime: the same checkpoint gives the same bytes.
    return gzip.compress(to_bytes({**rest, "packed_model": packed}), mtime=0)


def _pack_tensor(tensor: torch.Tensor) -> torch.Tensor | dict[str, Any]:
    flat = tensor.contiguous().flatten()
    if not flat.numel():
        return tensor
    # By their bits: a negative zero is not dropped.
    kept = flat.view(torch.uint8).view(len(flat), -1).any(1).bool()
    saved = (len(flat) - int(kept.sum())) * flat.element_size()
    if saved <= len(flat) // 8:
        return tensor
    bitmap = torch.from_numpy(np.packbits(kept.numpy()))
    return {"shape": list(tensor.shape), "bitmap": bitmap, "values": flat[kept].clone()}


def _unpack_tensor(packed: torch.Tensor | dict[str, Any]) -> torch.Tensor:
    if isinstance(packed, torch.Tensor):
        return packed
    shape, values = packed["shape"], packed["values"]
    flat = torch.zeros(int(np.prod(shape)), dtype=values.dtype)
    kept = np.unpackbits(packed["bitmap"].numpy(), count=len(flat))
    flat[torch.from_numpy(kept).bool()] = values
    return flat.view(shape)


def unpack(path: str | Path) -> dict[str, Any]:
    """The checkpoint that was packed into a file, tied matrices sharing their memory.

    Raises:
        UserError: the file is missing, damaged, or no packed checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"model {path}: no such file; give what fairseq-kd export --to sparse wrote")
    return unpack_bytes(path.read_bytes(), path)


def unpack_bytes(data: bytes, path: Path) -> dict[str, Any]:
    """As :func:`unpack`, of a file's content."""
    if not data.startswith(GZIP):
        raise UserError(f"model {path}: no sparse export; give what fairseq-kd export --to sparse wrote")
    try:
        state = torch.load(io.BytesIO(gzip.decompress(data)), map_location="cpu", weights_only=True)
        packed = state.pop("packed_model")
        own = {name: _unpack_tensor(value) for name, value in packed.items() if not isinstance(value, str)}
        model = {name: own[value if isinstance(value, str) else name] for name, value in packed.items()}
    except Exception:  # whatever another gzip'd file, corpora among them, or a damaged one leads to
        raise UserError(f"model {path}: damaged, or no sparse export; export it again") from None
    return untrained({**state, "model": model})


def write_once(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all. A file with the same bytes stays as it is.

    Raises:
        UserError: the path holds something else.
    """
    if path.exists():
        if not path.is_file() or path.read_bytes() != data:
            raise UserError(f"--output {path}: holds something else; give another or delete it")
        logger.info("%s: written before from the same input; nothing to do", path)
        return
    with whole_file(path, "wb") as handle:
        handle.write(data)
