"""A student that starts from layers of its teacher (Shleifer & Rush 2020, arXiv 2010.13002)."""

import argparse
import itertools
import logging
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from fairseq.checkpoint_utils import prune_state_dict
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.models.transformer import TransformerConfig
from omegaconf import OmegaConf, open_dict
from torch import Tensor

from fairseq_kd.compress.packing import NO_UPDATES, to_bytes, write_once
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import architecture_of, read_checkpoint
from fairseq_kd.networks.guarded_build import Refused, literal
from fairseq_kd.networks.hidden_states import SIDES, copied_layers, transformer_config
from fairseq_kd.networks.parameters import count_nonzero

logger = logging.getLogger(__name__)

NAME = re.compile(r"\w[\w.-]*")
OPTION = re.compile(r"--[a-z0-9-]+")


def init_student(
    teacher: str | Path,
    output: str | Path,
    encoder_layers: int | None = None,
    decoder_layers: int | None = None,
    widths: Mapping[str, int] | None = None,
) -> list[str]:
    """Write a student that starts from its teacher's layers, whole or not at all (Shleifer & Rush 2020).

    The same teacher and numbers give the same bytes; a file that holds them stays. Embeddings, positions, final layer
    norms and the output projection are the teacher's. Of the recorded configuration only the numbers of layers change.

    Args:
        teacher: a Transformer's checkpoint.
        output: the checkpoint to write.
        encoder_layers: how many encoder layers to copy, spaced as :func:`copied_layers` says; None: all.
        decoder_layers: the same for the decoder.
        widths: what the student's widths should be, by the names in :data:`fairseq_kd.compress.options.WIDTHS`. Only
            the teacher's own can be copied.

    Returns:
        The options that tell fairseq-train the student's shape.

    Raises:
        UserError: no Transformer, more layers than the teacher has, other widths, or a bad checkpoint; its options
            would make fairseq-train run text; or the output holds something else.
    """
    teacher, output = Path(teacher), Path(output)
    state = read_checkpoint(teacher, role="teacher")
    model = state["cfg"].model
    config = transformer_config(model)
    if config is None:
        name, _ = architecture_of(model)
        raise UserError(f"teacher {teacher}: {name!r} is no Transformer; init-student copies Transformer layers alone")
    for side in SIDES:
        _check_depth(teacher, side, getattr(config, side).layers, state["model"])
    _check_widths(widths or {}, config)
    if output.exists() and output.samefile(teacher):
        raise UserError(f"--output {output}: is the teacher itself; give another file")
    wanted = {"encoder": encoder_layers, "decoder": decoder_layers}
    chosen = {side: _choose(side, wanted[side], config) for side in SIDES}
    keep = {f"{side}_layers_to_keep": ",".join(map(str, layers)) for side, layers in chosen.items()}
    # What fairseq does for LayerDrop. Any architecture would do: it reads the layers alone.
    weights = prune_state_dict(state["model"], argparse.Namespace(arch="transformer", **keep))
    before, after = (count_nonzero(one)[0] for one in (state["model"], weights))
    for side, layers in chosen.items():
        logger.info("%s: layers %s of the teacher's 0 to %d", side, layers, getattr(config, side).layers - 1)
        _set_layers(model, side, len(layers))
    options = _plain_options(teacher, architecture_options(model))
    write_once(output, to_bytes(_checkpoint(state["cfg"], weights)))
    logger.info("%s: %s parameters of the teacher's %s", output, f"{after:,}", f"{before:,}")
    return options


def _plain_options(teacher: Path, words: list[str]) -> list[str]:
    """The options, none of whose values is text that fairseq-train would run or take for another option."""
    for option, value in itertools.pairwise(words):
        try:
            if option.startswith("--") and not value.startswith("--") and not NAME.fullmatch(value):
                literal(value)
            elif value.startswith("--") and not OPTION.fullmatch(value):
                raise Refused(f"its configuration has {value[:60]!r} where a name or a number belongs")
        except Refused as reason:
            raise UserError(f"teacher {teacher}: refused: {reason}; get the file from its maker again") from None
    return words


def _check_depth(teacher: Path, side: str, layers: int, weights: Mapping[str, Tensor]) -> None:
    found = {name.split(".")[2] for name in weights if name.startswith(f"{side}.layers.")}
    if layers > len(found):
        raise UserError(
            f"teacher {teacher}: refused: its configuration has {layers} {side} layers and its weights {len(found)}; "
            "get the file from its maker again"
        )


def _check_widths(widths: Mapping[str, int], config: TransformerConfig) -> None:
    for name, wanted in widths.items():
        side, _, field = name.partition("_")
        own = getattr(getattr(config, side), field)
        if wanted != own:
            raise UserError(
                f"--{name.replace('_', '-')} {wanted}: the teacher's is {own}, and a layer cannot be copied into "
                "another width; leave the option out, or train a student of that width from random weights "
                "(--criterion pre_distill matches its hidden states through a linear map)"
            )


def _choose(side: str, wanted: int | None, config: TransformerConfig) -> list[int]:
    most = getattr(config, side).layers
    if wanted is not None and not 1 <= wanted <= most:
        raise UserError(f"--{side}-layers {wanted}: the teacher has {most} {side} layers; give 1 to {most}")
    return copied_layers(wanted or most, most)


def _set_layers(model: Any, side: str, layers: int) -> None:
    """Record the number; fairseq-hydra-train nests it, and records a stale flat one beside it."""
    if OmegaConf.is_config(model):
        with open_dict(model):
            model[f"{side}_layers"] = layers
            if side in model:
                model[side].layers = layers
    else:
        setattr(model, f"{side}_layers", layers)


def _checkpoint(cfg: Any, weights: dict[str, Tensor]) -> dict[str, Any]:
    """A checkpoint as fairseq-train writes it, before the first update."""
    iterator = {"version": 2, "epoch": 1, "iterations_in_epoch": 0, "shuffle": True}
    return {
        "args": None,
        "cfg": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
        "model": weights,
        "criterion": None,
        "optimizer_history": [NO_UPDATES],
        "task_state": {},
        "extra_state": {"train_iterator": iterator},
    }


def architecture_options(model: Any) -> list[str]:
    """The options of fairseq-train that give a recorded Transformer's configuration: what differs from its --arch."""
    name, _ = architecture_of(model)
    given = argparse.Namespace()

    def with_defaults() -> dict[str, Any]:
        complete = argparse.Namespace(**vars(given))
        ARCH_CONFIG_REGISTRY.get(name, ARCH_CONFIG_REGISTRY["transformer"])(complete)
        return _flat(TransformerConfig.from_namespace(complete))

    words = ["--arch", name]
    for key, value in _flat(TransformerConfig.from_namespace(model)).items():
        # Defaults depend on each other: the decoder's width, for instance, on the encoder's.
        if with_defaults().get(key) != value and value is not None:
            setattr(given, key, value)
            option = f"--{key.replace('_', '-')}"
            words += [option] if value is True else [option, str(value)]
    return words


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            values |= _flat(value, f"{field.name}_")
        elif not field.name.startswith("_"):
            values[prefix + field.name] = value
    return values
