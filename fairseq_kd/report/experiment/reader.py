"""An experiment's YAML, as configs/*.yaml describe it, checked key by key before use."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fairseq_kd.errors import UserError
from fairseq_kd.report.experiment.paper import paper
from fairseq_kd.report.experiment.points import check_equal, check_points
from fairseq_kd.report.experiment.rows import check_rows, seeds
from fairseq_kd.report.experiment.teacher import READY, VOCABULARY, check_teacher
from fairseq_kd.report.experiment.words import beam_sizes, command_words, option_words, training_words
from fairseq_kd.storage.shapes import (
    Misfit,
    Shape,
    among,
    anything,
    folder_name,
    keys,
    line,
    list_of,
    map_of,
    misfit,
    number,
    one_of,
    text,
    whole,
)
from fairseq_kd.storage.structured import Unreadable, read_yaml

DATA = ("gold", "distilled", "samples", "seq_inter", "gold_distilled")
"""What a row can be trained on, besides an experiment's own corpora and texts."""
_TEXT_OR_NUMBER = one_of(number, text)
_ROW = {"name": text, "data": text, "options": training_words}
_MORE = {"start": text, "init": option_words, "seeds": seeds, "paper": paper}
_NEEDED = {
    "title": line,
    "languages": list_of(text, 2),
    "raw": command_words,
    "vocabulary": VOCABULARY,
    "training": training_words,
    "student": training_words,
    "decoding": option_words,
    "beams": beam_sizes,
    "seeds": seeds,
    "rows": map_of(keys(_ROW, _MORE, others=False)),
    "baseline": text,
}
_OPTIONAL = {
    "name": folder_name,
    "teacher": training_words,
    "ready_teacher": READY,
    "teacher_vocabulary": whole(1),
    "corpora": map_of(option_words),
    "texts": map_of(text),
    "fine_tuning": training_words,
    "seq_inter": option_words,
    "distilled": option_words,
    "samples": option_words,
    "scoring": option_words,
    "variants": map_of(option_words),
    "risks": option_words,
    "cost": list_of(text),
    "cache": map_of(option_words),
    "pruning": keys(
        {"of": text, "sparsities": list_of(_TEXT_OR_NUMBER), "scheme": text, "options": training_words},
        others=False,
    ),
    "axis": keys({"label": line, "scale": among(("linear", "log"))}, others=False),
    "points": anything,
    "paper_teacher": paper,
}
_PART = keys({}, {**_NEEDED, **_OPTIONAL, "rows": map_of(keys({}, {**_ROW, **_MORE})), "points": anything})
"""A file that may leave keys out: of a table or a study whose students were trained by hand."""


def _whole(value: Any, place: str) -> None:
    """A file that the workflow runs. Of a study, each point's keys replace those of the experiment."""
    check_points(value)
    points = value.get("points")
    for point, own in (points or {None: {}}).items():
        own = own or {}
        # Keys that begin with x- are the user's, for YAML anchors.
        merged = {key: one for key, one in {**value, **own}.items() if not str(key).startswith("x-")}
        try:
            check_keys(merged, place)
        except Misfit as error:
            if error.place.split(".")[0] not in own:
                raise
            raise Misfit(f"points.{point}, {error}", f"points.{point}.{error.place}") from None
    if points:
        check_equal(value)


def check_keys(config: dict[str, Any], place: str = "") -> None:
    """Check the keys that one run of the workflow has.

    Args:
        config: the keys; of a study, those of one point.
        place: what the message calls the whole.

    Raises:
        Misfit: a key is unknown, missing, has a value of another kind, or names what is not there.
    """
    keys(_NEEDED, _OPTIONAL, others=False)(config, place)
    _check_names(config)
    check_teacher(config)


def _check_names(config: dict[str, Any]) -> None:
    """Check that a row that is named somewhere is there."""
    rows, own = config["rows"], _own_data(config)
    for key, row in rows.items():
        for name in row["data"].split("+"):
            among((*DATA, *own))(name, f"rows.{key}.data")
        among({"teacher", *rows} - {key})(row.get("start", "teacher"), f"rows.{key}.start")
        if "init" in row and "start" in row:
            raise misfit(f"rows.{key}.init", "goes with no start, as a training begins with one model; leave out one")
    joined = [row["data"] for row in rows.values()]
    for name in config.get("cache", {}):
        among(dict.fromkeys([*DATA, *own, *joined]))(name, f"cache.{name}")
    among(row["name"] for row in rows.values())(config["baseline"], "baseline")
    pruning = config.get("pruning")
    if pruning:
        among(rows)(pruning["of"], "pruning.of")
    check_rows(config)
    pruned = [f"pruned.{sparsity}" for sparsity in (pruning or {}).get("sparsities", [])]
    list_of(among(["teacher", *rows, *pruned]))(config.get("cost", []), "cost")


def _own_data(config: dict[str, Any]) -> list[str]:
    """The names of an experiment's own corpora and texts, which become names of folders."""
    found: list[str] = []
    for key in ("corpora", "texts"):
        for name in config.get(key, {}):
            if not isinstance(name, str) or not re.fullmatch(r"[a-z]\w*", name):
                raise misfit(f"{key}.{name}", "name it with small letters, digits and _")
            if name in (*DATA, *found):
                raise misfit(f"{key}.{name}", "the name is in use; take another")
            found.append(name)
    return found


def read_experiment(config: str | Path, *, complete: bool = False, option: str = "--config ") -> dict[str, Any]:
    """The content of an experiment's YAML.

    Args:
        config: the file.
        complete: whether it must have all keys that scripts/quickstart.sh and scripts/study.sh need, and no others.
        option: what the error has before the file's name.

    Raises:
        UserError: the file is missing, is no YAML, or a key is unknown, missing or has a value of another kind; the
            message names file, line and key.
    """
    shape: Shape = _whole if complete else _PART
    try:
        return read_yaml(config, shape)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise UserError(f"{option}{config}: {reason}") from None
    except Unreadable as error:
        advice = "" if error.place else "; give the experiment's file"
        raise UserError(f"{option}{config}: {error}{advice}") from None


def given_keys(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The lists and maps that Snakemake's ``--config`` gave an experiment, with numbers and truth values in them.

    Snakemake reads ``seeds=[3]`` and ``ready_teacher={model: teacher.pt, scored: false}``, but leaves text within.

    Args:
        config: the experiment, in which Snakemake has put what was given.
        given: what --config gave, as Snakemake reads it.
    """
    return {key: _typed(config[key], one) for key, one in given.items() if isinstance(one, Mapping | list)}


def _typed(value: Any, given: Any) -> Any:
    if isinstance(given, Mapping):
        return {**value, **{key: _typed(value[key], one) for key, one in given.items()}}
    if isinstance(given, list):
        return [_typed(one, one) for one in given]
    if not isinstance(given, str):
        return value
    try:
        read = yaml.safe_load(given)
    except yaml.YAMLError:
        return given
    return read if isinstance(read, bool | int | float) else given
