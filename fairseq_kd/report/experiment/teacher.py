"""Which teacher an experiment has: one that the workflow trains, or one that is there already."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_kd.report.experiment.words import option_words
from fairseq_kd.storage.shapes import keys, misfit, one_of, text, truth, whole

OWN = "teacher"
"""The value of the key ``vocabulary`` with which a student has the ready teacher's subwords."""
VOCABULARY = one_of(whole(1), text)
READY = one_of(
    text,
    keys({"model": text}, {"dictionaries": text, "spm": text, "options": option_words, "scored": truth}, others=False),
)
"""The value of the key ``ready_teacher``: the path of a model, or a map."""


@dataclass(frozen=True)
class Teacher:
    """The teacher of an experiment.

    Attributes:
        model: the checkpoint or the folder of a ready one; None: the workflow trains it.
        dictionaries: the folder with a ready checkpoint's ``dict.*.txt``.
        spm: a ready checkpoint's sentencepiece model.
        options: of every decode and cache with a ready teacher.
        scored: whether ``fairseq-kd evaluate`` takes it.
        outside: whether it is the folder of a CTranslate2 or Hugging Face model.
        shares_vocabulary: whether the student has its subwords.
    """

    model: Path | None = None
    dictionaries: Path | None = None
    spm: Path | None = None
    options: str = ""
    scored: bool = True
    outside: bool = False
    shares_vocabulary: bool = True


def read_teacher(config: dict[str, Any], beside: Path) -> Teacher:
    """The teacher that an experiment's keys describe.

    Args:
        config: the keys; :func:`check_teacher` has passed them.
        beside: the folder of the experiment's file, from which relative paths start.
    """
    found = config.get("ready_teacher")
    if not found:
        return Teacher(shares_vocabulary="teacher_vocabulary" not in config)
    values: dict[str, Any] = {"model": found} if isinstance(found, str) else found
    model = beside / Path(values["model"]).expanduser()
    if model.suffix != ".pt":
        return Teacher(model, options=values.get("options", ""), scored=False, outside=True, shares_vocabulary=False)
    dictionaries = beside / Path(values.get("dictionaries", model.parent)).expanduser()
    return Teacher(
        model,
        dictionaries,
        beside / Path(values.get("spm", model.parent / "spm.model")).expanduser(),
        values.get("options", ""),
        values.get("scored", True),
        shares_vocabulary=config["vocabulary"] == OWN,
    )


def check_teacher(config: dict[str, Any]) -> None:
    """Check that what an experiment asks of its teacher can be had.

    Args:
        config: the keys, each with a value of the right kind.

    Raises:
        Misfit: a key is missing, or does not go with this teacher.
    """
    if "teacher" not in config and "ready_teacher" not in config:
        raise misfit("teacher", "is missing; give the options of its training, or a model as ready_teacher")
    teacher = read_teacher(config, Path())
    if isinstance(config["vocabulary"], str):
        _check_shared(config["vocabulary"], teacher)
    if teacher.outside:
        _check_outside(config["ready_teacher"])
    started = [key for key, row in config["rows"].items() if row.get("start") == "teacher"]
    if not teacher.shares_vocabulary:
        asking = [key for key in ("cache", "risks", "cost") if config.get(key)]
        asking += [f"rows.{key}.init" for key, row in config["rows"].items() if "init" in row]
        asking += [f"rows.{key}.start" for key in started]
        if asking:
            raise misfit(asking[0], f"needs a teacher with the student's subwords; {_why(teacher)}")
    if teacher.outside and "axis" in config:
        raise misfit("ready_teacher", "a study needs a fairseq checkpoint")
    if not teacher.scored and "axis" in config:
        raise misfit("ready_teacher.scored", "a study needs the teacher's scores; leave this key out")
    if started and "teacher" not in config:
        raise misfit("teacher", f"is missing; rows.{started[0]}.start needs the options of the teacher's size")


def _check_shared(value: str, teacher: Teacher) -> None:
    if value != OWN:
        reason = f"{value!r} is no whole number; give one, or 'teacher' for the ready teacher's subwords"
        raise misfit("vocabulary", reason)
    if teacher.model is None:
        raise misfit("vocabulary", "'teacher' needs the key ready_teacher")
    if teacher.outside:
        raise misfit("vocabulary", "the folder of another maker's model has no fairseq dictionary; give a number")


def _check_outside(given: str | dict[str, Any]) -> None:
    """Raise a Misfit for what the folder of another maker's model does not have."""
    values = {} if isinstance(given, str) else given
    for key in ("dictionaries", "spm"):
        if key in values:
            reason = "is of a fairseq checkpoint; leave it out, or name other sentencepiece models in options"
            raise misfit(f"ready_teacher.{key}", f"{reason} (--source-spm and --target-spm)")
    if values.get("scored"):
        raise misfit("ready_teacher.scored", "a folder has no row in the table; leave it out")


def _why(teacher: Teacher) -> str:
    if teacher.outside:
        return "the folder of another maker's model has others"
    return "give 'vocabulary: teacher'" if teacher.model else "leave out teacher_vocabulary"
