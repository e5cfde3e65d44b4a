"""What the table at the end needs of an experiment's rows, checked before anything is trained."""

from typing import Any

from fairseq_kd.storage.shapes import list_of, misfit, whole


def seeds(value: Any, place: str) -> None:
    """The shape of a list of training seeds."""
    list_of(whole())(value, place)
    if not value:
        raise misfit(place, "there are none; give one or more")
    if len(set(value)) < len(value):
        raise misfit(place, "a seed is there twice; leave one out")


def check_rows(config: dict[str, Any]) -> None:
    """Check that the table can compare each row with the baseline: by equal seeds, unless one of the two has one seed.

    Args:
        config: the keys, each with a value of the right kind.

    Raises:
        Misfit: the baseline lacks a seed of a row.
    """
    rows = config["rows"]
    of_row = {key: row.get("seeds", config["seeds"]) for key, row in rows.items()}
    baseline = next(key for key, row in rows.items() if row["name"] == config["baseline"])
    for key, own in of_row.items():
        missing = [seed for seed in own if seed not in of_row[baseline]]
        if missing and len(own) > 1 and len(of_row[baseline]) > 1:
            place = next(f"rows.{one}.seeds" for one in (key, baseline) if "seeds" in rows[one])
            raise misfit(place, f"rows.{key} has seed {missing[0]}, the baseline rows.{baseline} has not; add it there")
