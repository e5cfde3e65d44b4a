"""The points of a study: the keys that differ there, and the work that all points share."""

import math
from collections.abc import Mapping
from typing import Any

from fairseq_kd.report.experiment.teacher import OWN
from fairseq_kd.storage.shapes import anything, keys, map_of, maybe, misfit

Points = Mapping[Any, dict[str, Any] | None]
"""The value of the key ``points``: the keys that differ, by place on the axis."""
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


def check_points(config: dict[str, Any]) -> None:
    """Check the points of a study by themselves, without the keys that they change.

    Args:
        config: the content of the file.

    Raises:
        Misfit: a point is no number or comes twice, or what a study needs is missing.
    """
    keys({}, {"points": map_of(maybe(map_of(anything)))})(config, "")
    if "points" not in config:
        return
    if not config["points"]:
        raise misfit("points", "there are none")
    if "axis" not in config:
        raise misfit("axis", "is missing; a study needs it")
    keys({"title": anything, "axis": keys({"label": anything, "scale": anything})})(config, "")
    places: set[float] = set()
    for point in config["points"]:
        place = _place(point)
        if place is None:
            raise misfit(f"points.{point}", f"{point!r} is no number; a point is a place on the axis")
        if place in places:
            raise misfit(f"points.{point}", f"a second point at {place:g}; leave one out")
        if place <= 0 and config["axis"]["scale"] == "log":
            raise misfit(f"points.{point}", "has no logarithm; give numbers above 0, or 'scale: linear'")
        places.add(place)


def check_equal(config: dict[str, Any]) -> None:
    """Check that the points have what a study compares.

    Args:
        config: the content of the file; each point's keys have values of the right kind.

    Raises:
        Misfit: a point has other rows or beam sizes than the first.
    """
    (first, of_first), *others = at_points(config).items()
    for point, own in others:
        if str(own["beams"]).split() != str(of_first["beams"]).split():
            raise misfit(f"points.{point}.beams", f"differs from that of point {first}; a study compares equal beams")
        if {row["name"] for row in own["rows"].values()} != {row["name"] for row in of_first["rows"].values()}:
            raise misfit(
                f"points.{point}.rows", f"their names differ from those of point {first}; a study compares equal rows"
            )


def at_points(config: dict[str, Any]) -> dict[Any, dict[str, Any]]:
    """The keys of an experiment at each point of a study, where the point's own replace those of the file."""
    return {point: {**config, **(own or {})} for point, own in config["points"].items()}


def keys_at(points: Points | None, point: Any) -> dict[str, Any]:
    """The keys that differ at a point of a study; there are none in an experiment, which has no points.

    Args:
        points: the value of the key ``points``.
        point: the point, or a word for it. Snakemake reads 1e-3 as a number, YAML reads it as text.

    Raises:
        Misfit: there is no such point.
    """
    if points is None:
        return {}
    for one, own in points.items():
        if _place(one) == _place(point):
            return own or {}
    raise misfit("point", f"there is no {point}; choose from {', '.join(map(str, points))}")


def _place(point: Any) -> float | None:
    """A point as a number; None where it is none."""
    if isinstance(point, bool) or str(point).split() != [str(point)]:
        return None
    try:
        place = float(point)
    except (TypeError, ValueError, OverflowError):
        return None
    return place if math.isfinite(place) else None


def runs_at(config: dict[str, Any]) -> list[str]:
    """The runs whose scores a study compares at a point.

    Args:
        config: the keys at the point.
    """
    rows = config["rows"].items()
    return ["teacher", *(f"{key}.{seed}" for key, row in rows for seed in row.get("seeds", config["seeds"]))]


def shared_folders(config: dict[str, Any]) -> list[str]:
    """The folders of a run that are equal at all points of a study, in the order in which they are made."""
    changed = {key for own in config["points"].values() for key in own or {}}
    if config.get("vocabulary") == OWN and "ready_teacher" in changed:
        changed.add("vocabulary")  # the text is cut into the teacher's subwords
    folders: list[str] = []
    for folder, made_from in _MADE_FROM.items():
        if made_from & changed:
            break
        folders.append(folder)
    return folders
