"""Which engine decodes a model."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.databins.vocabulary import check_vocabulary
from fairseq_kd.decoding.ctranslate2.conversion import CannotConvert, kept_conversion
from fairseq_kd.decoding.ctranslate2.engine import CTranslate2Engine, check_precision
from fairseq_kd.decoding.ctranslate2.shortlist import find_shortlist
from fairseq_kd.decoding.fairseq_engine import FairseqEngine
from fairseq_kd.decoding.interface import Engine, prefix_symbols
from fairseq_kd.decoding.options import ENGINES, DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.networks.teacher_tasks import Direction, TeacherTask
from fairseq_kd.networks.teacher_tokens import TeacherTokens

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChosenEngine:
    """An engine that takes the models: its name, what it computes in, how to load it, and the models' tokens."""

    engine: str
    precision: str
    build: Callable[[], Engine]
    tokens: TeacherTokens


def choose_engine(
    name: str,
    precision: str,
    model_paths: Sequence[str],
    task: TranslationTask,
    loader: type[FairseqEngine] = FairseqEngine,
    search: DecodingOptions = DecodingOptions(),  # noqa: B008
    direction: Direction | None = None,
    shortlist: Path | None = None,
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
        direction: of multilingual models, source and target by their names of the languages; the default refuses
            models whose task adds tokens.
        shortlist: a lexical shortlist, as :func:`fairseq_kd.decoding.ctranslate2.shortlist.find_shortlist` takes it;
            None: all symbols are allowed.

    Raises:
        UserError: there is no such engine, it does not take the models, the precision or the search, or a checkpoint
            cannot be used or has other dictionaries than ``task``.
    """
    if name not in ENGINES:
        raise UserError(f"--engine {name}: there is no such engine; choose from {', '.join(ENGINES)}")
    states, tokens = check_teachers(model_paths, task, direction)
    prefix_symbols(search.prefix, task.target_dictionary)
    given = _for_ctranslate2(precision, shortlist)
    if name == "fairseq":
        search.require("fairseq")
        if given:
            raise UserError(
                f"{given}: --engine fairseq decodes in float32, with all symbols; give --engine ctranslate2"
            )
    else:
        try:
            return _ctranslate2(precision, model_paths, task, states, search, tokens, shortlist)
        except CannotConvert as reason:
            if name == "ctranslate2":
                raise UserError(f"--engine ctranslate2: {reason}") from None
            if given:
                raise UserError(f"{given}: needs ctranslate2, but {reason}") from None
            if search.lacking("fairseq"):
                raise UserError(f"{search.lacking('fairseq')}, and ctranslate2 cannot decode: {reason}") from None
            logger.warning("decoding with fairseq, since ctranslate2 cannot: %s", reason)
    return ChosenEngine("fairseq", "float32", partial(loader, model_paths, task, states, tokens), tokens)


def _for_ctranslate2(precision: str, shortlist: Path | None) -> str:
    """The first option that fairseq's search does not have; "" where there is none."""
    if precision != "float32":
        return f"--precision {precision}"
    return f"--shortlist {shortlist}" if shortlist else ""


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
    return check_teachers(model_paths, task, None, role)[0]


def check_teachers(
    model_paths: Sequence[str], task: TranslationTask, direction: Direction | None, role: str = "model"
) -> tuple[list[dict[str, Any]], TeacherTokens]:
    """As :func:`check_models`, for callers that add the tokens of the models' own task.

    Args:
        model_paths: the files.
        task: whose dictionaries the models must have; they may have symbols of their task more.
        direction: as for :func:`choose_engine`.
        role: what errors call a file.

    Returns:
        The contents, and the tokens that all models need.

    Raises:
        UserError: as :func:`check_models`; or a task is not served, or the models need different tokens.
    """
    states, tokens = [], []
    for path in model_paths:
        state = read_checkpoint(path, role)
        own = TeacherTask(path, state["cfg"], task, direction or (None, None), role)
        if own.tagged and direction is None:
            raise UserError(
                f"{role} {path}: its task {own.name!r} adds language tokens, which this command does not know; "
                "decode, cache and training do (docs/how-to/multilingual-teachers.md)"
            )
        tokens.append(own.tokens(task.source_dictionary, task.target_dictionary))
        not_found = check_vocabulary(path, state, task, role, None, own.files, own.augment)
        if not_found:
            logger.warning("%s %s: %s; its dictionaries could not be compared with the data's", role, path, not_found)
        states.append({key: state.get(key) for key in ("args", "cfg", "model")})
        if tokens[-1].record != tokens[0].record:
            raise UserError(f"{role} {path}: needs other tokens than {model_paths[0]}; decode them one by one")
    return states, tokens[0]


def _ctranslate2(
    precision: str,
    model_paths: Sequence[str],
    task: TranslationTask,
    states: Sequence[dict[str, Any]],
    search: DecodingOptions,
    tokens: TeacherTokens,
    shortlist: Path | None,
) -> ChosenEngine:
    if search.lacking("ctranslate2"):
        raise CannotConvert(search.lacking("ctranslate2"))
    if len(model_paths) > 1:
        raise CannotConvert(f"{len(model_paths)} checkpoints are an ensemble, it decodes single models")
    if not tokens.plain:
        raise CannotConvert(
            f"{model_paths[0]} needs the tokens of {tokens.record['task']}, which fairseq's search adds"
        )
    check_precision(precision)
    found = find_shortlist(shortlist, task.target_dictionary) if shortlist else None
    folder = kept_conversion(model_paths[0], task, states[0], found)
    return ChosenEngine("ctranslate2", precision, partial(CTranslate2Engine, folder, precision, task), tokens)
