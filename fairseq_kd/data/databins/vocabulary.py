"""Check that a checkpoint was trained with the data's symbols."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fairseq.data import Dictionary
from fairseq.tasks.translation import TranslationTask
from omegaconf import DictConfig, OmegaConf

from fairseq_kd.data.databins.databin import read_dictionary
from fairseq_kd.data.databins.files import folders, pairs_in
from fairseq_kd.errors import UserError

logger = logging.getLogger(__name__)


def recorded_task(config: DictConfig) -> dict[str, Any]:
    """The options of the task that a checkpoint recorded, by name; ``_name`` is the task's."""
    task = config.task
    found: Any = OmegaConf.to_container(task, resolve=False) if OmegaConf.is_config(task) else vars(task)
    return dict(found)


def recorded_languages(config: DictConfig, task: TranslationTask) -> tuple[str, str]:
    """The source and target language that a checkpoint recorded, else the task's."""
    own, recorded = (task.cfg.source_lang, task.cfg.target_lang), recorded_task(config)
    return recorded.get("source_lang") or own[0], recorded.get("target_lang") or own[1]


def check_languages(path: str, config: DictConfig, task: TranslationTask, role: str) -> None:
    """Warn where a checkpoint recorded other languages than the task's, or a data-bin of the opposite direction.

    Raises:
        UserError: it translates in the opposite direction.
    """
    own = (task.cfg.source_lang, task.cfg.target_lang)
    recorded = recorded_languages(config, task)
    if recorded == own[::-1] and recorded != own:
        raise UserError(
            f"{role} {path}: translates {'-'.join(recorded)}, the data is {'-'.join(own)}; "
            f"give a {role} of the data's direction, or read the data in the other one: "
            f"--source-lang {recorded[0]} --target-lang {recorded[1]}"
        )
    if recorded != own:
        logger.warning("%s %s was trained on %s, the data is %s", role, path, "-".join(recorded), "-".join(own))
    elif _recorded_pair(config) == own[::-1] != own:
        logger.warning(
            "%s %s: its data-bin %s is %s, and the data is read as %s: the %s seems to translate in the opposite "
            "direction",
            role, path, recorded_task(config)["data"], "-".join(own[::-1]), "-".join(own), role,
        )  # fmt: skip


def _recorded_pair(config: DictConfig) -> tuple[str, str] | None:
    """The only pair of the data-bin that a checkpoint recorded; None where it names languages, or the folder is gone.

    fairseq takes the pair of the data-bin where --source-lang and --target-lang are not given, and does not record it.
    """
    recorded = recorded_task(config)
    first = folders(str(recorded.get("data") or ""))[0]
    if recorded.get("source_lang") or recorded.get("target_lang") or not recorded.get("data") or not first.is_dir():
        return None
    pairs = pairs_in(first)
    return pairs[0] if len(pairs) == 1 else None


def check_vocabulary(
    path: str,
    state: dict[str, Any],
    task: TranslationTask,
    role: str,
    data: str | None = None,
    files: Sequence[str] | None = None,
    augment: Callable[[Dictionary], Dictionary] = lambda dictionary: dictionary,
) -> str | None:
    """Compare the dictionaries of the checkpoint ``path`` with those of ``task``, symbol by symbol.

    A fairseq checkpoint holds no dictionary. This function looks for it in ``data``, else beside the checkpoint, else
    in the data-bin that the checkpoint recorded.

    Args:
        path: the checkpoint.
        state: its content, as :func:`fairseq_kd.networks.checkpoints.read_checkpoint` gives it.
        task: whose dictionaries the checkpoint must have.
        role: what errors call the checkpoint.
        data: folder with the checkpoint's dictionaries.
        files: names of the source and the target dictionary, or their recorded paths; None: those of the languages.
        augment: gives a dictionary the symbols that the checkpoint's task appends; both sides are compared with them.

    Returns:
        None if the dictionaries are the same. Where none was found: a clause that names the folders.

    Raises:
        UserError: the dictionaries differ, or the checkpoint translates in the opposite direction. The message names
            the first symbol that differs.
    """
    check_languages(path, state["cfg"], task, role)
    found = dictionary_files(path, state["cfg"], task, data, files or ())
    if isinstance(found, str):
        return found
    own = (("source", task.source_dictionary), ("target", task.target_dictionary))
    for file, (side, dictionary) in zip(found, own, strict=True):
        difference = first_difference(augment(read_dictionary(file)), augment(dictionary))
        if difference:
            raise UserError(
                f"{role} {path}: its {side} vocabulary ({file}) is not the data's: {difference}; "
                f"binarise the data with the {role}'s dictionaries (fairseq-preprocess --srcdict --tgtdict)"
            )
    return None


def dictionary_files(
    path: str, config: DictConfig, task: TranslationTask, data: str | None, files: Sequence[str] = ()
) -> list[Path] | str:
    """The files of a checkpoint's dictionaries, source and target; see :func:`check_vocabulary`.

    Args:
        path: the checkpoint.
        config: that it recorded.
        task: whose languages count where the checkpoint recorded none.
        data: folder with the checkpoint's dictionaries.
        files: their names, where they are not those of the languages.

    Returns:
        The two files. Where they were not found: a clause that names the folders.
    """
    names = files or [f"dict.{language}.txt" for language in recorded_languages(config, task)]
    recorded = recorded_task(config).get("data")
    # Of several data-bins, a:b, fairseq takes the dictionaries of the first
    given = [str(folders(str(one))[0]) for one in (data, recorded) if one]
    places = given[:1] if data else [str(Path(path).resolve().parent), *given]
    choices = [[Path(folder, Path(name).name) for name in names] for folder in places]
    if any(Path(name).is_absolute() for name in names):
        choices.append([Path(places[-1], name) for name in names])  # an absolute path stays what it is
    found = next((paths for paths in choices if all(one.is_file() for one in paths)), None)
    if found is None:
        return f"{' and '.join(Path(name).name for name in names)} not found in {' or '.join(places)}"
    return found


def first_difference(theirs: Dictionary, own: Dictionary) -> str | None:
    """The first symbol that differs between two dictionaries, in words; None where all are the same.

    Equal sizes prove nothing: fairseq pads dictionaries to multiples of 8, and their order can differ.
    """
    sizes = f"{len(theirs)} symbols against {len(own)}"
    for index, (their_symbol, own_symbol) in enumerate(zip(theirs.symbols, own.symbols, strict=False)):
        if their_symbol != own_symbol:
            return f"{sizes}, the first that differs is number {index}, {their_symbol!r} against {own_symbol!r}"
    if len(theirs) != len(own):
        extra = max(theirs, own, key=len).symbols[min(len(theirs), len(own))]
        return f"{sizes}, the first that only one side has is {extra!r}"
    return None
