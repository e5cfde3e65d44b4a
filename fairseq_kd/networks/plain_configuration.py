"""A checkpoint's configuration as plain data: it reads no environment variable and opens no file."""

import argparse
import inspect
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from fairseq.dataclass.configs import FairseqConfig
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_REGISTRY
from omegaconf import DictConfig, OmegaConf, _utils
from omegaconf.base import Node

from fairseq_kd.networks.guarded_build import Refused

DEEPEST = 40
"""How deep a configuration may be nested; fairseq's own has six levels, OmegaConf's nodes between them."""
MOST_VALUES = 100_000
"""Values in a configuration. In a pickle one list can stand in many places, and so grow beyond all memory."""
REFERENCE = re.compile(r"\$\{(\w+(?:\.\w+)*)\}")
"""``${model.dropout}``, as fairseq's own defaults have it. Its value is put in its place.

Any other ``${`` is refused: ``${oc.env:HOME}`` reads from this machine, ``${${model.x}:HOME}`` does so in disguise,
and texts that hold each other twice grow without end.
"""
LANGUAGE = re.compile(r"[\w.@+-]{1,60}")
NAMES_A_FILE = re.compile(r".*(path|file|dir|checkpoint|pretrained\w*from)")
"""Settings of a model that fairseq opens while it builds the model, such as ``encoder_embed_path``."""
OF_TRAINING = {
    option.name for group in fields(FairseqConfig) if is_dataclass(group.default) for option in fields(group.default)
}
"""Options such as ``save_dir`` and ``pipeline_checkpoint``. No model reads them, and most may not be None."""


def plain_configuration(config: Any) -> dict[str, Any]:
    """The content of a checkpoint's "cfg": dicts, lists and single values. Files that its model names are left out.

    Args:
        config: a dict or a DictConfig, as it was saved.

    Raises:
        Refused: it asks OmegaConf to read from this machine, or is nested too deeply or too large to be fairseq's.
    """
    plain = _Plain().of(config, "cfg")
    if not isinstance(plain, dict):
        raise Refused("its configuration is no dictionary")
    if plain.get("model") is not None:
        plain["model"] = without_files(plain["model"])
    _check_languages(plain.get("task"))
    return _References(plain).of(plain, "cfg")


def plain_arguments(args: Any) -> argparse.Namespace:
    """As :func:`plain_configuration`, for the "args" of fairseq's checkpoints up to 0.10.

    What the training used and is not installed here (a task, a criterion, an optimiser) is left out or, for the task,
    replaced by ``translation``: fairseq looks up its defaults, and only the model is needed.
    """
    plain = _Plain().of(vars(args) if isinstance(args, argparse.Namespace) else args, "args")
    if not isinstance(plain, dict):
        raise Refused("its configuration is no dictionary")
    _check_languages(plain)
    for name, registry in REGISTRIES.items():
        if plain.get(name) is not None and plain[name] not in registry["registry"]:
            del plain[name]
    if plain.get("task") is not None and plain["task"] not in TASK_REGISTRY:
        plain["task"] = "translation"
    training = {name: value for name, value in plain.items() if name in OF_TRAINING}
    return argparse.Namespace(**without_files(plain) | training)


def without_files(model: Any) -> Any:
    """A model's settings with None for each file that they name. The files' content is in the checkpoint already."""
    if isinstance(model, argparse.Namespace):
        return argparse.Namespace(**without_files(vars(model)))
    if not isinstance(model, dict):
        return model
    return {
        name: None if isinstance(value, str) and NAMES_A_FILE.fullmatch(str(name)) else without_files(value)
        for name, value in model.items()
    }


def as_config(plain: dict[str, Any]) -> DictConfig:
    """Plain settings as fairseq's loader holds them. The model's may be a Namespace, which OmegaConf does not know.

    omegaconf 2.0, on which fairseq 0.12.2 depends, has no flag for such objects; 0.12.2's own loader then replaces the
    same function of omegaconf. It also reads a setting that is missing as None, unless the settings are a "struct".
    """
    if "flags" in inspect.signature(OmegaConf.create).parameters:
        return OmegaConf.create(plain, flags={"allow_objects": True})
    old: Any = _utils  # omegaconf 2.3's stubs do not have the function
    kept = old.is_primitive_type
    old.is_primitive_type = lambda _: True
    try:
        config = OmegaConf.create(plain)
    finally:
        old.is_primitive_type = kept
    OmegaConf.set_struct(config, True)
    if OmegaConf.is_config(config.get("model")):  # to which fairseq adds settings while it builds the model
        OmegaConf.set_struct(config.model, False)
    return config


def _check_languages(task: Any) -> None:
    """Dictionaries are looked for under the languages' names, so a name leads to no other folder."""
    for name in ("source_lang", "target_lang"):
        language = task.get(name) if isinstance(task, dict) else None
        if isinstance(language, str) and not LANGUAGE.fullmatch(language):
            raise Refused(f"its configuration has {language[:60]!r} as {name}")


class _Plain:
    """Copies values as dicts, lists, namespaces and single values, and counts them."""

    def __init__(self) -> None:
        self.left = MOST_VALUES

    def of(self, value: Any, where: str, depth: int = 0) -> Any:
        self.left -= 1
        if depth > DEEPEST:
            raise Refused(f"its configuration is nested deeper than {DEEPEST} levels")
        if self.left < 0:
            raise Refused(f"its configuration has more than {MOST_VALUES} values")
        if isinstance(value, Node):
            # Not OmegaConf.to_container, which follows shared nodes without end.
            return self.of(value._value(), where, depth + 1)
        if isinstance(value, argparse.Namespace):
            return argparse.Namespace(**self.of(vars(value), where, depth))
        if isinstance(value, Mapping):
            return {name: self.of(item, f"{where}.{name}", depth + 1) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.of(item, where, depth + 1) for item in value)
        return self.single(value, where, depth)

    def single(self, value: Any, where: str, depth: int) -> Any:
        """What stands for a single value: the value itself."""
        if isinstance(value, str) and "${" in value and not REFERENCE.fullmatch(value):
            raise Refused(f"its configuration reads {value[:60]!r} from this machine, at {where[:80]}")
        return value.value if isinstance(value, Enum) else value


class _References(_Plain):
    """Copies a plain configuration with each reference's value in its place; one that leads nowhere stays."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        super().__init__()
        self.root = root

    def single(self, value: Any, where: str, depth: int) -> Any:
        """The value, or the value that it refers to."""
        match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return value
        found: Any = self.root
        for name in match[1].split("."):
            if not isinstance(found, Mapping) or name not in found:
                return value
            found = found[name]
        return self.of(found, where, depth + 1)
