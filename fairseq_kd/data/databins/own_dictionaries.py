"""The dictionaries of a checkpoint, found without a data-bin's text."""

from pathlib import Path
from typing import Any

from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.databins.databin import read_dictionary, translation_task
from fairseq_kd.data.databins.files import UNNAMED, Languages, choose_pair, folders, pairs_in
from fairseq_kd.errors import UserError


def own_task(
    path: str,
    state: dict[str, Any],
    data: str | Path | None = None,
    languages: Languages = UNNAMED,
    *,
    role: str = "model",
    option: str = "--data",
) -> TranslationTask:
    """fairseq's translation task with the dictionaries that a checkpoint was trained with, without a dataset.

    A fairseq checkpoint holds no dictionary. This function looks for ``dict.SOURCE.txt`` and ``dict.TARGET.txt`` in
    ``data``, else beside the checkpoint, else in the data-bin that the checkpoint recorded.

    Args:
        path: the checkpoint.
        state: its content, as :func:`fairseq_kd.networks.checkpoints.check_checkpoint` gives it.
        data: folder with the dictionaries.
        languages: source and target; None: as the checkpoint or the data-bin has it.
        role: what errors call the checkpoint.
        option: that gives ``data``, for errors.

    Raises:
        UserError: a dictionary is not found or cannot be read, or nothing names the languages.
    """
    if data:
        if not folders(data)[0].is_dir():
            raise UserError(f"{option} {data}: no such folder")
        data = folders(data)[0]
    recorded = _recorded_task(state)
    databin = str(recorded.get("data") or "").split(":")[0]
    source, target = _languages(path, recorded, data or databin, languages)
    names = [f"dict.{source}.txt", f"dict.{target}.txt"]
    beside: list[str | Path] = [data] if data else [Path(path).resolve().parent, databin]
    places = [Path(folder) for folder in beside if folder]
    folder = next((folder for folder in places if all((folder / name).is_file() for name in names)), None)
    if folder is None:
        raise UserError(
            f"{role} {path}: {' and '.join(names)} not found in {' or '.join(map(str, places))}; "
            f"give the folder of its dictionaries with {option} DIR"
        )
    first, second = (read_dictionary(folder / name) for name in names)
    return translation_task(folder, source, target, (first, second))


def _languages(path: str, recorded: dict[str, Any], databin: str | Path, given: Languages) -> tuple[str, str]:
    """The languages that were given, else those of the checkpoint, which may know none, else those of the data-bin."""
    known = recorded.get("source_lang"), recorded.get("target_lang")
    source, target = (first or second for first, second in zip(given, known, strict=True))
    if not (source and target) and databin and Path(databin).is_dir() and pairs_in(Path(databin)):
        source, target = choose_pair(databin, (source, target))
    if not source or not target:
        raise UserError(
            f"model {path}: it recorded no languages; give them with --source-lang and --target-lang, "
            "or its data-bin with --data DIR"
        )
    return source, target


def recorded_languages_of(state: dict[str, Any]) -> Languages:
    """The source and target language that a checkpoint recorded; None for each that it does not name."""
    recorded = _recorded_task(state)
    return recorded.get("source_lang") or None, recorded.get("target_lang") or None


def _recorded_task(state: dict[str, Any]) -> dict[str, Any]:
    """The options of the task that a checkpoint was trained with; older ones hold all options in one namespace."""
    config = state.get("cfg")
    task = config["task"] if config else state["args"]
    return dict(task) if hasattr(task, "keys") else vars(task)
