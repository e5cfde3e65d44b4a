"""Read fairseq checkpoints without running code, and say in one line what is wrong with a bad one.

fairseq reads checkpoints with ``torch.load``. torch ≥ 2.6 refuses by default whatever is not plain data. That includes
the ``argparse.Namespace`` in every fairseq checkpoint, so :mod:`fairseq_kd.networks.plain_classes` allow-lists the
harmless classes that fairseq stores. Older torch runs whatever the pickle asks for, so this package reads every file
with ``weights_only=True`` before fairseq sees its content. (fairseq's own commands do not: under torch 2.4 and 2.5
their --path and --restore-file are as safe as the file.)

A configuration is no safer than a pickle: :mod:`fairseq_kd.networks.plain_configuration` and
:mod:`fairseq_kd.networks.guarded_build` keep fairseq from running it.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY, BaseFairseqModel
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.errors import UserError
from fairseq_kd.networks.guarded_build import Refused, guarded_build
from fairseq_kd.networks.plain_classes import allow_plain_classes
from fairseq_kd.networks.plain_configuration import as_config, plain_arguments, plain_configuration
from fairseq_kd.networks.second_copies import keep_one_copy, without_copies
from fairseq_kd.storage.files import is_unicode, split_paths

# Before anything reads a checkpoint: fairseq itself does so as soon as the plugin is registered.
allow_plain_classes()


def read_checkpoint(path: str | Path, role: str = "checkpoint", on_disk: bool = False) -> dict[str, Any]:
    """A fairseq checkpoint's content on the CPU, ``state["cfg"]`` its configuration in fairseq's present form.

    :func:`build_models` takes it, so that no caller has to read the file twice.

    Args:
        path: the file.
        role: what errors call it ("teacher", "model").
        on_disk: whether the tensors stay on disk, as with :func:`check_checkpoint`.

    Raises:
        UserError: it is missing, cut short, no fairseq checkpoint, its pickle would run code (it is not run), or its
            configuration reads from this machine.
    """
    state = saved_state(path, role, on_disk)
    try:
        return _upgraded(state)
    except Refused as reason:
        raise UserError(f"{role} {path}: refused: {reason}; get the file from its maker again") from None
    except Exception as error:
        told = f"its configuration cannot be read: {error!r}"
        raise UserError(f"{role} {path}: {told}; get the file from its maker again") from None


def _upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's content in fairseq's present form, with its configuration as plain data.

    fairseq's load_checkpoint_to_cpu does it too, but reads the file itself, and puts values from this machine into the
    configuration.
    """
    if state.get("args") is not None:
        state["args"] = plain_arguments(state["args"])
    if state.get("cfg") is not None:
        state["cfg"] = as_config(plain_configuration(state["cfg"]))
    state = checkpoint_utils._upgrade_state_dict(state)
    if state.get("cfg") is None:
        state["cfg"] = convert_namespace_to_omegaconf(state["args"])
    return state


def check_checkpoint(path: str | Path, role: str = "checkpoint") -> dict[str, Any]:
    """As :func:`saved_state`, but the tensors stay on disk where the format allows that.

    A check then takes milliseconds whatever the model's size. Nobody may write to the file while the tensors are used.

    Raises:
        UserError: as :func:`read_checkpoint`.
    """
    return saved_state(path, role, on_disk=True)


def require_file(path: str | Path, role: str = "checkpoint") -> None:
    """Raise a UserError where there is no such file. Its content is not read: whoever uses it reads it, once."""
    if Path(path).is_dir():
        raise UserError(
            f"{role} {path}: a folder, not a fairseq checkpoint (.pt); a CTranslate2 or Hugging Face folder gives "
            "translations alone: use it in translate and decode --input"
        )
    if not Path(path).is_file():
        raise UserError(f"{role} {path}: no such file; give the path of a fairseq checkpoint (.pt)")


def checkpoint_paths(model: str) -> list[str]:
    """The checkpoints in ``CKPT:CKPT``.

    Raises:
        UserError: there are none, or a file is missing.
    """
    paths = split_paths(model)
    if not paths:
        raise UserError(f"--model {model!r}: give the path of a checkpoint")
    for path in paths:
        require_file(path, role="model")
    return paths


def saved_state(path: str | Path, role: str = "model", on_disk: bool = False) -> dict[str, Any]:
    """A fairseq checkpoint's content as it was saved, on the CPU. All of this package reads checkpoints by it.

    The arguments are those of :func:`read_checkpoint`.

    Raises:
        UserError: as :func:`read_checkpoint`.
    """
    path = Path(path)
    require_file(path, role)
    try:
        with open(path, "rb") as handle:
            zipped = handle.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise UserError(f"{role} {path}: cannot be read: {error.strerror}") from None
    # torch opens a file that it maps by its name in UTF-8.
    mapped = on_disk and zipped and is_unicode(str(path))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        raise _explain(path, role, zipped, error) from None
    known = isinstance(state, dict) and isinstance(state.get("model"), dict) and (state.get("cfg") or state.get("args"))
    if not known:
        reason = "no fairseq checkpoint (it lacks the model or its configuration)"
        raise UserError(f"{role} {path}: {reason}; give the .pt file that fairseq-train wrote")
    if not state.get("optimizer_history", True):
        raise UserError(
            f"{role} {path}: its optimizer_history is empty, so fairseq cannot read it; get the file from its maker "
            "again"
        )
    for name, weight in state["model"].items():
        if not isinstance(name, str) or not _held_in_full(weight):
            raise UserError(f"{role} {path}: refused: {str(name)[:60]} is no plain weight; get the file again")
    state["model"] = without_copies(state["model"])
    return state


def _held_in_full(weight: Any) -> bool:
    """Whether it is a tensor with a place in memory for each of its numbers, and so no larger than its file."""
    if not isinstance(weight, torch.Tensor) or weight.layout != torch.strided or weight.device.type != "cpu":
        return False
    return weight.numel() * weight.element_size() <= weight.untyped_storage().nbytes()


def model_config(path: str | Path, role: str = "checkpoint") -> Any:
    """The configuration of the checkpoint's model, read without its weights: a Namespace, or a DictConfig (Hydra).

    Raises:
        UserError: as :func:`read_checkpoint`.
    """
    return read_checkpoint(path, role, on_disk=True)["cfg"].model


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
    paths: Sequence[str | Path],
    task: TranslationTask,
    role: str = "checkpoint",
    states: Sequence[dict[str, Any]] | None = None,
) -> list[BaseFairseqModel]:
    """The models of ``paths`` with ``task``'s dictionaries: float32, on the CPU, in eval mode, their parameters frozen.

    Args:
        paths: the files.
        task: whose dictionaries the models get.
        role: what errors call the files.
        states: what :func:`read_checkpoint` gave for each path; the files are read where they are left out.

    Raises:
        UserError: as :func:`read_checkpoint`, or the weights do not fit the dictionaries, or the architecture is
            unknown or no encoder-decoder.
    """
    if states is None:
        return [_build(path, read_checkpoint(path, role), task, role) for path in paths]
    return [_build(path, state, task, role) for path, state in zip(paths, states, strict=True)]


def architecture_of(model: Any) -> tuple[str, type[BaseFairseqModel] | None]:
    """The architecture that a recorded model configuration names ("?": none), and its class if fairseq knows it."""
    name = getattr(model, "arch", None) or getattr(model, "_name", None) or "?"
    return name, ARCH_MODEL_REGISTRY.get(name) or MODEL_REGISTRY.get(name)


def _build(path: str | Path, state: dict[str, Any], task: TranslationTask, role: str) -> BaseFairseqModel:
    architecture, _ = architecture_of(state["cfg"].model)
    used = {"cfg": state["cfg"], "model": state["model"]}

    def build() -> BaseFairseqModel:
        (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)], task=task, state=used)
        keep_one_copy(model)
        return model

    try:
        model = guarded_build(build, state["model"])
    except Refused as reason:
        raise UserError(f"{role} {path}: refused: {reason}; get the file from its maker again") from None
    except RuntimeError as error:
        raise UserError(f"{role} {path}: its weights do not fit: {_misfit(str(error))}") from None
    except Exception as error:
        raise UserError(f"{role} {path}: cannot build its architecture {architecture!r}: {error}") from None
    if not hasattr(model, "encoder") or not hasattr(model, "decoder"):
        raise UserError(f"{role} {path}: {architecture!r} is no encoder-decoder")
    return model.float().eval().requires_grad_(False)


def _misfit(error: str) -> str:
    """What torch's complaint about a checkpoint's weights means, and what to do."""
    sizes = re.search(r"size mismatch for (\S*embed_tokens\S*): .*?\[(\d+)[^\]]*\].*?\[(\d+)", error)
    if sizes:
        return (
            f"{sizes[1]} has {sizes[2]} rows, the data's dictionary has {sizes[3]} symbols; "
            "give the data-bin it was trained on"
        )
    return f"{error}; its configuration is not that of its weights, so get the file from its maker again"
