"""What the table at the end needs of an experiment's rows, checked before anything is trained."""

import re
from collections.abc import Iterator
from typing import Any

from fairseq_kd.compress.options import SCHEMES
from fairseq_kd.report.experiment.words import names_option
from fairseq_kd.storage.shapes import among, list_of, misfit, whole


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
        Misfit: a key cannot name a file, a row's name cannot stand in the table, two rows have one name, the baseline
            lacks a seed of a row, options replace the seeds or the beam sizes, or the pruning cannot be done.
    """
    for key in config["rows"]:
        _check_key(key, f"rows.{key}")
        if not re.fullmatch(r"[^-\s].*", config["rows"][key]["name"]):
            raise misfit(f"rows.{key}.name", "give one line of text that does not begin with '-'")
    for variant in config.get("variants", {}):
        _check_key(variant, f"variants.{variant}")
        if variant == "risks":
            raise misfit("variants.risks", "the name is in use; take another")
    taken: dict[str, str] = {}
    for place, name in _names(config):
        if name in taken:
            raise misfit(place, f"the table would have two rows {name!r}, this and {taken[name]}; take another name")
        taken[name] = place.removesuffix(".name") or "the teacher's"
    _check_seeds(config)
    _check_options(config)
    if "pruning" in config:
        _check_pruning(config["pruning"])


def _check_key(key: Any, place: str) -> None:
    """Raise a Misfit unless files can be named by a key."""
    if not isinstance(key, str) or not re.fullmatch(r"\w[\w.-]*", key):
        raise misfit(place, "name it with letters, digits, _, - and .; put quotes around a number")


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


def _check_pruning(pruning: dict[str, Any]) -> None:
    """What scripts/prune_and_retrain.sh, the last of the trainings, would refuse."""
    among(SCHEMES)(pruning["scheme"], "pruning.scheme")
    if not pruning["sparsities"]:
        raise misfit("pruning.sparsities", "there are none; give one or more")
    before = 0.0
    for position, sparsity in enumerate(pruning["sparsities"]):
        place = f"pruning.sparsities.{position}"
        if not re.fullmatch(r"0?\.[0-9]*[1-9][0-9]*", str(sparsity)):
            raise misfit(place, f"{sparsity!r} is no sparsity; give the share of zeros, such as 0.8")
        if float(sparsity) <= before:
            raise misfit(place, "has to be higher than the one before")
        before = float(sparsity)


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


def _check_options(config: dict[str, Any]) -> None:
    """The commands have these options from keys; of an option that comes twice they take the last."""
    seeded = {key: config.get(key, "") for key in ("training", "student", "fine_tuning", "decoding", "scoring")}
    seeded |= {f"rows.{key}.options": row["options"] for key, row in config["rows"].items()}
    seeded["pruning.options"] = config.get("pruning", {}).get("options", "")
    for place, words in seeded.items():
        if names_option(words, "--seed"):
            raise misfit(place, "--seed would take the place of the key seeds; leave it out")
    for place in ("decoding", "scoring"):
        if names_option(config.get(place, ""), "--beam"):
            advice = "leave it out, or give the teacher's beam size in the key distilled"
            raise misfit(place, f"--beam would take the place of the key beams; {advice}")
