"""The dictionaries of a checkpoint, found without a data-bin's text."""

from pathlib import Path
from typing import Any

from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.databin import languages, read_dictionary, translation_task
from fairseq_kd.errors import UserError


def own_task(path: str, state: dict[str, Any], data: str | Path | None = None) -> TranslationTask:
    """fairseq's translation task with the dictionaries that a checkpoint was trained with, without a dataset.

    A fairseq checkpoint holds no dictionary. This function looks for ``dict.SOURCE.txt`` and ``dict.TARGET.txt`` in
    ``data``, else beside the checkpoint, else in the data-bin that the checkpoint recorded.

    Args:
        path: the checkpoint.
        state: its content, as :func:`fairseq_kd.networks.checkpoints.check_checkpoint` gives it.
        data: folder with the dictionaries.

    Raises:
        UserError: a dictionary is not found or cannot be read, or neither the checkpoint nor ``data`` has languages.
    """
    recorded = _recorded_task(state)
    pair = recorded.get("source_lang"), recorded.get("target_lang")
    if not all(pair):
        if not data:
            raise UserError(f"model {path}: it recorded no languages; give its data-bin with --data DIR")
        pair = languages(data)
    source, target = pair
    names = [f"dict.{source}.txt", f"dict.{target}.txt"]
    beside = [Path(path).resolve().parent, str(recorded.get("data") or "").split(":")[0]]
    folders = [Path(folder) for folder in ([data] if data else beside) if folder]
    folder = next((folder for folder in folders if all((folder / name).is_file() for name in names)), None)
    if folder is None:
        raise UserError(
            f"model {path}: {' and '.join(names)} not found in {' or '.join(map(str, folders))}; "
            "give the folder of its dictionaries with --data DIR"
        )
    first, second = (read_dictionary(folder / name) for name in names)
    return translation_task(folder, str(source), str(target), (first, second))


def _recorded_task(state: dict[str, Any]) -> dict[str, Any]:
    """The options of the task that a checkpoint was trained with; older ones hold all options in one namespace."""
    config = state.get("cfg")
    task = config["task"] if config else state["args"]
    return dict(task) if hasattr(task, "keys") else vars(task)
