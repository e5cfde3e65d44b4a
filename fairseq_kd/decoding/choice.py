"""Which engine decodes a model."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.vocabulary import check_vocabulary
from fairseq_kd.decoding.conversion import CannotConvert, kept_conversion
from fairseq_kd.decoding.ctranslate2_engine import CTranslate2Engine, check_precision
from fairseq_kd.decoding.fairseq_engine import FairseqEngine
from fairseq_kd.decoding.interface import Engine, prefix_symbols
from fairseq_kd.decoding.options import ENGINES, DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import read_checkpoint

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChosenEngine:
    """An engine that takes the models: its name, what it computes in, and how to load it."""

    engine: str
    precision: str
    build: Callable[[], Engine]


def choose_engine(
    name: str,
    precision: str,
    model_paths: Sequence[str],
    task: TranslationTask,
    loader: type[FairseqEngine] = FairseqEngine,
    search: DecodingOptions = DecodingOptions(),  # noqa: B008
) -> ChosenEngine:
    """The engine called ``name`` over one model or, with several paths, their ensemble.

    "auto" chooses CTranslate2 where that takes the models, else fairseq; the log says why. Each checkpoint is read
    once, here.

    Args:
        name: one of :data:`fairseq_kd.decoding.options.ENGINES`.
        precision: one of :data:`fairseq_kd.decoding.options.PRECISIONS`, what the engine computes in.
        model_paths: the checkpoints.
        task: whose dictionaries the models must have.
        loader: what loads the models where fairseq decodes them.
        search: what the engine must be able to do.

    Raises:
        UserError: there is no such engine, it does not take the models, the precision or the search, or a checkpoint
            cannot be used or has other dictionaries than ``task``.
    """
    if name not in ENGINES:
        raise UserError(f"--engine {name}: there is no such engine; choose from {', '.join(ENGINES)}")
    states = check_models(model_paths, task)
    prefix_symbols(search.prefix, task.target_dictionary)
    if name == "fairseq":
        search.require("fairseq")
        if precision != "float32":
            raise UserError(f"--precision {precision}: --engine fairseq decodes in float32; give --engine ctranslate2")
    else:
        try:
            return _ctranslate2(precision, model_paths, task, states, search)
        except CannotConvert as reason:
            if name == "ctranslate2":
                raise UserError(f"--engine ctranslate2: {reason}") from None
            if precision != "float32":
                raise UserError(f"--precision {precision}: needs ctranslate2, but {reason}") from None
            if search.lacking("fairseq"):
                raise UserError(f"{search.lacking('fairseq')}, and ctranslate2 cannot decode: {reason}") from None
            logger.warning("decoding with fairseq, since ctranslate2 cannot: %s", reason)
    return ChosenEngine("fairseq", "float32", partial(loader, model_paths, task, states))


def check_models(model_paths: Sequence[str], task: TranslationTask, role: str = "model") -> list[dict[str, Any]]:
    """Read each checkpoint safely, once, and compare its dictionaries with the task's.

    Args:
        model_paths: the files.
        task: whose dictionaries the models must have.
        role: what errors call a file.

    Returns:
        Each checkpoint's content without the state of its training. Pass it to whatever builds or converts the model.

    Raises:
        UserError: a checkpoint cannot be used, or its dictionaries differ.
    """
    states = []
    for path in model_paths:
        state = read_checkpoint(path, role)
        not_found = check_vocabulary(path, state, task, role)
        if not_found:
            logger.warning("%s %s: %s; its dictionaries could not be compared with the data's", role, path, not_found)
        states.append({key: state.get(key) for key in ("args", "cfg", "model")})
    return states


def _ctranslate2(
    precision: str,
    model_paths: Sequence[str],
    task: TranslationTask,
    states: Sequence[dict[str, Any]],
    search: DecodingOptions,
) -> ChosenEngine:
    if search.lacking("ctranslate2"):
        raise CannotConvert(search.lacking("ctranslate2"))
    if len(model_paths) > 1:
        raise CannotConvert(f"{len(model_paths)} checkpoints are an ensemble, it decodes single models")
    check_precision(precision)
    folder = kept_conversion(model_paths[0], task, states[0])
    return ChosenEngine("ctranslate2", precision, partial(CTranslate2Engine, folder, precision, task))
