"""The points of a study: the keys that differ there, and the work that all points share."""

from typing import Any

from fairseq_kd.report.experiment_teacher import OWN

_MADE_FROM = {
    "raw": {"raw"},
    "data": {"languages", "vocabulary"},
    "teacher": {"training", "teacher", "ready_teacher", "teacher_vocabulary"},
    "distilled": {"decoding", "distilled"},
    "gold_distilled": set[str](),
    "samples": {"samples"},
    "caches": {"cache", "seq_inter", "corpora", "texts"},
}
"""The keys that each folder of a run depends on; it depends on those of the folders before it, too."""


def shared_folders(config: dict[str, Any]) -> list[str]:
    """The folders of a run that are equal at all points of a study, in the order in which they are made."""
    changed = {key for keys in config["points"].values() for key in keys or {}}
    if config.get("vocabulary") == OWN and "ready_teacher" in changed:
        changed.add("vocabulary")  # the text is cut into the teacher's subwords
    folders: list[str] = []
    for folder, keys in _MADE_FROM.items():
        if keys & changed:
            break
        folders.append(folder)
    return folders
