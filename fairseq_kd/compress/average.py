"""The mean of several checkpoints of one training, as fairseq's ``scripts/average_checkpoints.py`` takes it.

Vaswani et al. 2017 (arXiv 1706.03762, section 6.1) average the last 5 or 20 checkpoints before they decode.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from fairseq_kd.compress.packing import NO_UPDATES, to_bytes, untrained, write_once
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import architecture_of, read_checkpoint, require_file
from fairseq_kd.networks.parameters import count_nonzero, is_parameter
from fairseq_kd.networks.resume import AVERAGED
from fairseq_kd.storage.files import file_hash, write_json
from fairseq_kd.storage.provenance import commit, versions

PARTS = ("model", "criterion")
"""The parts of a checkpoint that hold parameters."""


def average(checkpoints: Sequence[str | Path], output: str | Path) -> dict[str, Any]:
    """Write the mean of checkpoints, whole or not at all, and a report of it to ``output`` + ".json".

    One checkpoint is in memory at a time, beside the sums. The mean keeps the first checkpoint's configuration. It has
    no optimiser state and no counters. ``extra_state["averaged"]`` marks it and holds the hashes of the checkpoints, so
    that :func:`fairseq_kd.networks.resume.newest_sound_checkpoint` passes it over. Where ``output`` holds the same
    mean already, it stays as it is.

    Args:
        checkpoints: two or more fairseq checkpoints of one architecture.
        output: the checkpoint to write.

    Returns:
        The report: "checkpoints" ("path" and "sha256" of each), "parameters", "versions" and "commit".

    Raises:
        UserError: a checkpoint is bad, there are fewer than two, or two are the same file. Or the parameters, the
            options of the models or the settings of the learned gates differ. Or a mean is not finite, or the output
            holds something else.
    """
    if len(checkpoints) < 2:
        raise UserError("average: give two or more checkpoints")
    hashes = _hashes(checkpoints)
    first = read_checkpoint(checkpoints[0])
    entries = Sums(_entries(first))
    for path in checkpoints[1:]:
        state = read_checkpoint(path)
        difference = (
            _first_difference("option of the model", _options(first["cfg"].model), _options(state["cfg"].model))
            or _first_difference("setting of the gate", _gate_settings(first), _gate_settings(state))
            or entries.difference(_entries(state))
        )
        if difference:
            raise UserError(f"{checkpoints[0]} and {path} cannot be averaged: {difference}; give those of one training")
        entries.add(_entries(state))
    means = entries.means()
    state = {**first, "cfg": OmegaConf.to_container(first["cfg"], resolve=True, enum_to_str=True), "args": None}
    for part in PARTS:
        if state.get(part):
            state[part] = {name: means.get(f"{part}.{name}", own) for name, own in state[part].items()}
    state = untrained(state)
    state["optimizer_history"] = [NO_UPDATES]
    state["extra_state"][AVERAGED] = {"checkpoints": list(hashes.values())}
    report = {
        "checkpoints": [{"path": path, "sha256": found} for path, found in hashes.items()],
        "parameters": count_nonzero(state["model"])[0],
        "versions": versions(),
        "commit": commit(),
    }
    write_once(Path(output), to_bytes(state))
    write_json(f"{output}.json", report)
    return report


def _hashes(checkpoints: Sequence[str | Path]) -> dict[str, str]:
    """The hash of each file; a UserError where a file is missing or two are the same (checkpoint_last.pt is a copy)."""
    found: dict[str, str] = {}
    for path in map(str, checkpoints):
        require_file(path)
        own = file_hash(path)
        twin = next((other for other, known in found.items() if known == own), None)
        if twin or path in found:
            raise UserError(f"{twin or path} and {path} are the same checkpoint, which would count twice; name it once")
        found[path] = own
    return found


def _entries(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """All tensors of the model and of the criterion (a learned gate, for instance), by part and name."""
    both = ((part, state.get(part) or {}) for part in PARTS)
    # A criterion's state may also hold what is no tensor, a gate's moments for instance.
    return {f"{part}.{name}": one for part, own in both for name, one in own.items() if isinstance(one, Tensor)}


def _first_difference(what: str, one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The first of two checkpoints' options that differs, in words; None where none does."""
    first, second = dict(_flat(one)), dict(_flat(other))
    for name in [*first, *(name for name in second if name not in first)]:
        if first.get(name) != second.get(name):
            return f"the first {what} that differs is {name}: {first.get(name)} and {second.get(name)}"
    return None


def _gate_settings(state: Mapping[str, Any]) -> dict[str, Any]:
    """What the weights of a learned gate mean: plain values of the criterion's state; {} where it has no state.

    A gate's moments are tensors and may differ. A state of version 0.1.0 lacks the scale, but the recorded options
    have it.
    """
    criterion = state.get("criterion") or {}
    if not criterion:
        return {}
    plain = {name: value for name, value in _flat(dict(criterion)) if isinstance(value, int | float | str)}
    return {"gate_lr_scale": getattr(state["cfg"].criterion, "gate_lr_scale", None), **plain}


def _options(model: Any) -> dict[str, Any]:
    """The options of a recorded model: all of Hydra's, and of a Namespace those that the architecture declares.

    A Namespace also has options of the training (seed, save folder, …), which may differ.
    """
    if OmegaConf.is_config(model):
        plain = OmegaConf.to_container(model, resolve=True, enum_to_str=True)
        return {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}
    name, built = architecture_of(model)
    parser = argparse.ArgumentParser(add_help=False)
    if built is not None:
        built.add_args(parser)
    declared = {action.dest for action in parser._actions}
    return {"arch": name, **{key: value for key, value in vars(model).items() if key in declared}}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


class Sums:
    """Sums of tensors, in float64 where they are floating-point numbers.

    Args:
        tensors: those of the first checkpoint, by name.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        self.types = {name: tensor.dtype for name, tensor in tensors.items()}
        self.sums = {name: self._wide(tensor).clone() for name, tensor in tensors.items()}
        self.buffers = {name: tensor for name, tensor in tensors.items() if not is_parameter(name)}
        self.count = 1

    @staticmethod
    def _wide(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor.long()

    def difference(self, tensors: Mapping[str, Tensor]) -> str | None:
        """The first name, shape or number format of ``tensors`` that differs from the first checkpoint's, in words."""
        for name, total in self.sums.items():
            if name not in tensors:
                return f"only the first has {name}"
            own = tensors[name]
            if own.shape != total.shape:
                return f"the shape of {name} is {list(total.shape)} and {list(own.shape)}"
            if own.dtype != self.types[name]:
                return f"the number format of {name} is {self.types[name]} and {own.dtype}"
        extra = next((name for name in tensors if name not in self.sums), None)
        return f"only the second has {extra}" if extra else None

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Add another checkpoint's tensors."""
        for name, total in self.sums.items():
            total += self._wide(tensors[name])
        self.count += 1

    def means(self) -> dict[str, Tensor]:
        """The means, each in the number format of its checkpoints; whole numbers are rounded down, as in fairseq.

        Buffers are the first checkpoint's: fairseq never sets some of them, which can then be NaN.

        Raises:
            UserError: a mean is NaN or infinite.
        """
        found = {}
        for name, total in self.sums.items():
            if name in self.buffers:
                found[name] = self.buffers[name]
                continue
            mean = total / self.count if total.is_floating_point() else total // self.count
            found[name] = mean.to(self.types[name])
            if not bool(torch.isfinite(found[name]).all()):
                raise UserError(f"the mean of {name} has NaN or infinite values; check the checkpoints' trainings")
        return found
