"""What the table at the end needs of an experiment's rows, checked before anything is trained."""

import re
from collections.abc import Iterator
from typing import Any

from fairseq_kd.storage.shapes import list_of, misfit, whole


def seeds(value: Any, place: str) -> None:
    """The shape of a list of training seeds."""
    list_of(whole())(value, place)
    if not value:
        raise misfit(place, "there are none; give one or more")
    if len(set(value)) < len(value):
        raise misfit(place, "a seed is there twice; leave one out")


TEACHER = "Teacher"
"""The name of the teacher's row."""


def variant_name(name: str, variant: str) -> str:
    """The row of a model that is scored again with the options of a variant."""
    return f"{name}, {variant}"


def pruned_name(name: str, sparsity: float | str) -> str:
    """The row of a pruned model; ``name`` is the row that the pruning begins with."""
    return f"{name}, {100 * float(sparsity):g} % pruned"


def check_rows(config: dict[str, Any]) -> None:
    """Check that the table can tell its rows apart and compare them.

    Args:
        config: the keys, each with a value of the right kind.

    Raises:
        Misfit: a row's key is no name of a file, two rows have one name, or the baseline lacks a seed of a row.
    """
    for key in config["rows"]:
        if not isinstance(key, str) or not re.fullmatch(r"\w[\w.-]*", key):
            raise misfit(f"rows.{key}", "name it with letters, digits, _, - and .; put quotes around a number")
    taken: dict[str, str] = {}
    for place, name in _names(config):
        if name in taken:
            raise misfit(place, f"the table would have two rows {name!r}, this and {taken[name]}; take another name")
        taken[name] = place.removesuffix(".name") or "the teacher's"
    _check_seeds(config)


def _names(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The table's rows: the place of the key that makes one ("" makes the teacher's), and its name."""
    names = [("", TEACHER), *((f"rows.{key}.name", row["name"]) for key, row in config["rows"].items())]
    yield from names
    for variant in config.get("variants", {}):
        yield from ((f"variants.{variant}", variant_name(name, variant)) for _, name in names)
    pruning = config.get("pruning", {"sparsities": []})
    for position, sparsity in enumerate(pruning["sparsities"]):
        place = f"pruning.sparsities.{position}"
        try:
            yield place, pruned_name(config["rows"][pruning["of"]]["name"], sparsity)
        except ValueError:
            raise misfit(place, f"{sparsity!r} is no number") from None


def _check_seeds(config: dict[str, Any]) -> None:
    """Rows are compared by equal seeds, unless one of the two has a single seed."""
    rows = config["rows"]
    of_row = {key: row.get("seeds", config["seeds"]) for key, row in rows.items()}
    baseline = next(key for key, row in rows.items() if row["name"] == config["baseline"])
    for key, own in of_row.items():
        missing = [seed for seed in own if seed not in of_row[baseline]]
        if missing and len(own) > 1 and len(of_row[baseline]) > 1:
            place = next(f"rows.{one}.seeds" for one in (key, baseline) if "seeds" in rows[one])
            raise misfit(place, f"rows.{key} has seed {missing[0]}, the baseline rows.{baseline} has not; add it there")
