"""Checkpoints that were prepared to do harm, made from small sound ones of several architectures.

Each would touch the file ``trap``, wait on a pipe, fill the memory, or carry the environment's SECRET away.
"""

import os
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from tests.support.training import train_model

State = dict[str, Any]
Change = Callable[[State, "Harm"], object]
BILLION = 10**9


class Harm:
    """What a prepared checkpoint aims at, in one folder."""

    def __init__(self, folder: Path):
        self.trap, self.pipe, self.plugin = folder / "trap", folder / "pipe", folder / "plugin"
        if not self.pipe.exists():
            os.mkfifo(self.pipe)
            self.plugin.mkdir()
            (self.plugin / "__init__.py").write_text(f"open({str(self.trap)!r}, 'w')\n")

    @property
    def text(self) -> str:
        """Python that touches the trap where it is evaluated."""
        return f"[__import__('pathlib').Path({str(self.trap)!r}).touch()]"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Pickled, it touches the trap when a reader runs what it reads."""
        return os.system, (f"touch {self.trap}",)


def settings_of(state: State, section: str) -> dict[str, Any]:
    """One section of a checkpoint's configuration; some architectures' is a namespace."""
    found = state["cfg"][section]
    return vars(found) if isinstance(found, Namespace) else found


def setting(section: str, name: str, value: Any) -> Change:
    """Change a setting; a value that is called gets the harm. Old checkpoints keep all settings in one namespace."""

    def change(state: State, harm: Harm) -> None:
        settings_of(state, section)[name] = value(harm) if callable(value) else value

    return change


def as_namespace(change: Change) -> Change:
    """The same harm in a checkpoint of fairseq before 0.10: `args` in place of `cfg`."""

    def changed(state: State, harm: Harm) -> None:
        change(state, harm)
        task, model = settings_of(state, "task"), settings_of(state, "model")
        settings = {**task, **model, "arch": model["_name"], "task": task["_name"]}
        state["args"] = Namespace(**{name: value for name, value in settings.items() if name != "_name"})
        state["cfg"] = None

    return changed


def weight(tensor: Any) -> Change:
    """One more entry among the weights."""
    return lambda state, harm: state["model"].update(junk=tensor() if callable(tensor) else tensor)


def entry(name: str) -> Change:
    """A pickled object that runs a command, somewhere in the file."""
    return lambda state, harm: state.update({name: harm})


def _text(harm: Harm) -> str:
    return harm.text


def _pipe(harm: Harm) -> str:
    return str(harm.pipe)


def _nested(depth: int) -> Any:
    value: Any = "relu"
    for _ in range(depth):
        value = [value]
    return value


def _laughs(state: State, harm: Harm) -> None:
    settings = settings_of(state, "model")
    settings |= {f"x{level}": f"${{model.x{level - 1}}}${{model.x{level - 1}}}" for level in range(1, 40)}
    settings["x0"] = "ha"


CHANGES: dict[str, tuple[str, Change]] = {
    **{
        f"{arch}: {section}.{name} is Python{' (old file)' if old else ''}": (
            arch,
            (as_namespace if old else lambda change: change)(setting(section, name, _text)),
        )
        for arch, section, name, old in [
            ("transformer", "model", "adaptive_softmax_cutoff", False),
            ("transformer", "model", "adaptive_softmax_cutoff", True),
            ("transformer", "model", "encoder_layers_to_keep", False),
            ("transformer", "model", "activation_fn", False),
            ("transformer", "task", "eval_bleu_args", False),
            ("transformer", "task", "eval_bleu_detok_args", False),
            ("transformer", "optimization", "lr", False),
            ("transformer", "optimizer", "adam_betas", False),
            ("fconv", "model", "encoder_layers", False),
            ("fconv", "model", "decoder_layers", True),
            ("fconv", "model", "decoder_attention", False),
            ("lstm", "model", "decoder_attention", False),
            ("lstm", "model", "adaptive_softmax_cutoff", True),
            ("lightconv", "model", "encoder_kernel_size_list", False),
            ("lightconv", "model", "decoder_kernel_size_list", True),
        ]
    },
    "common.user_dir has code": ("transformer", setting("common", "user_dir", lambda harm: str(harm.plugin))),
    "encoder_embed_path is a pipe": ("transformer", setting("model", "encoder_embed_path", _pipe)),
    "lstm: decoder_embed_path is a pipe": ("lstm", setting("model", "decoder_embed_path", _pipe)),
    "task.data is a pipe": ("transformer", setting("task", "data", _pipe)),
    "load_pretrained_from is a pipe": ("transformer", setting("model", "pretrained_checkpoint", _pipe)),
    "a million layers": ("transformer", setting("model", "encoder_layers", 10**6)),
    "10^12 layers": ("transformer", as_namespace(setting("model", "decoder_layers", 10**12))),
    "a billion features": ("transformer", setting("model", "encoder_ffn_embed_dim", BILLION)),
    "a billion positions": ("transformer", setting("model", "max_source_positions", BILLION)),
    "lstm: 10^8 features": ("lstm", setting("model", "encoder_hidden_size", 10**8)),
    "fconv: 9,999 layers in seven characters": ("fconv", setting("model", "encoder_layers", "[(16, 3)] * 9999")),
    "a billion times a text": ("lightconv", setting("model", "encoder_kernel_size_list", "[3] * 10 ** 9")),
    "the environment, in a setting": ("transformer", setting("model", "activation_fn", "${oc.env:SECRET}")),
    "the environment, in the languages": ("transformer", setting("task", "source_lang", "${oc.env:SECRET}")),
    "the environment, disguised": ("transformer", setting("task", "data", "${${task._name}:SECRET}")),
    "a language that is a path": ("transformer", setting("task", "source_lang", "../../../etc/x")),
    "settings nested 300 deep": ("transformer", setting("model", "activation_fn", _nested(300))),
    "settings that double 40 times": ("transformer", _laughs),
    "pickle: args run a command": ("transformer", entry("args")),
    "pickle: the optimiser's state runs a command": ("transformer", entry("last_optimizer_state")),
    "pickle: an unknown entry runs a command": ("transformer", entry("note")),
    "a weight of 10^12 numbers in one": ("transformer", weight(lambda: torch.zeros(1).expand(10**6, 10**6))),
    "a weight without memory": ("transformer", weight(lambda: torch.empty(10**6, 10**6, device="meta"))),
    "a weight that is text": ("transformer", weight("no tensor")),
}
"""Name: the architecture that it is made from, and what is changed."""


def sound(data: Path, folder: Path) -> dict[str, Path]:
    """A model of each architecture, trained for two updates on ``data``."""
    names = sorted({arch for arch, _ in CHANGES.values()})
    words = ("--max-update", "2", "--source-lang", "src", "--target-lang", "tgt")
    return {name: train_model(data, folder / name, *words, architecture=name) for name in names}


def prepare(name: str, models: dict[str, Path], data: Path, spm: Path, folder: Path) -> Path:
    """``folder`` with the prepared checkpoint, its dictionaries and its sentencepiece model; the checkpoint's path."""
    arch, change = CHANGES[name]
    state = torch.load(models[arch], weights_only=False)
    state["cfg"] = OmegaConf.to_container(state["cfg"]) if OmegaConf.is_config(state["cfg"]) else state["cfg"]
    change(state, Harm(folder.parent))
    folder.mkdir()
    for dictionary in data.glob("dict.*.txt"):
        shutil.copy(dictionary, folder)
    shutil.copy(spm, folder / "spm.model")
    torch.save(state, folder / "checkpoint_last.pt")
    return folder / "checkpoint_last.pt"
