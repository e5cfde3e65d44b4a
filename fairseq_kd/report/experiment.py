"""An experiment's YAML, as configs/*.yaml describe it, checked key by key before use."""

from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.storage.shapes import (
    Misfit,
    Shape,
    anything,
    keys,
    list_of,
    map_of,
    maybe,
    number,
    one_of,
    text,
    whole,
)
from fairseq_kd.storage.structured import Unreadable, read_yaml

_TEXT_OR_NUMBER = one_of(number, text)
_ROW = {"name": text, "data": text, "options": text}
_MORE = {"start": text, "init": text, "seeds": list_of(whole()), "paper": anything}
_NEEDED = {
    "title": text,
    "languages": list_of(text, 2),
    "raw": text,
    "vocabulary": whole(1),
    "training": text,
    "teacher": text,
    "student": text,
    "decoding": text,
    "beams": _TEXT_OR_NUMBER,
    "seeds": list_of(whole()),
    "rows": map_of(keys(_ROW, _MORE)),
    "baseline": text,
}
_OPTIONAL = {
    "name": text,
    "fine_tuning": text,
    "seq_inter": text,
    "distilled": text,
    "scoring": text,
    "risks": text,
    "cost": list_of(text),
    "cache": map_of(text),
    "pruning": keys({"of": text, "sparsities": list_of(_TEXT_OR_NUMBER), "scheme": text, "options": text}),
    "axis": keys({"label": text, "scale": text}),
    "paper_teacher": anything,
}
_PART = keys({}, {**_NEEDED, **_OPTIONAL, "rows": map_of(keys({}, {**_ROW, **_MORE})), "points": anything})
"""A file that may leave keys out: of a table or a study whose students were trained by hand."""


def _whole(value: Any, place: str) -> None:
    """A file that the workflow runs. Of a study, each point's keys replace those of the experiment."""
    keys({}, {"points": map_of(maybe(map_of(anything)))})(value, place)
    for point, own in (value.get("points") or {None: {}}).items():
        where = place if point is None else f"points.{point}"
        try:
            keys(_NEEDED, _OPTIONAL)({**value, **(own or {})}, place)
        except Misfit as error:
            raise Misfit(f"{where}, {error}" if where else str(error)) from None


def read_experiment(config: str | Path, *, complete: bool = False, option: str = "--config ") -> dict[str, Any]:
    """The content of an experiment's YAML.

    Args:
        config: the file.
        complete: whether it must have all keys that scripts/quickstart.sh and scripts/study.sh need.
        option: what the error has before the file's name.

    Raises:
        UserError: the file is missing, is no YAML, or a key is missing or has a value of another kind.
    """
    shape: Shape = _whole if complete else _PART
    try:
        return read_yaml(config, shape)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise UserError(f"{option}{config}: {reason}") from None
    except Unreadable as error:
        raise UserError(f"{option}{config}: {error}; give the experiment's file") from None
