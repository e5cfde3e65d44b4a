"""The machines that a table's speeds were measured on, told by row where they differ."""

from typing import Any


def machine_words(machine: dict[str, Any]) -> str:
    """A machine in words.

    Args:
        machine: as :func:`fairseq_kd.storage.provenance.machine` gives it.
    """
    gpu = f"{machine['gpus']} × {machine['gpu']}, " if "gpu" in machine else ""
    return f"{gpu}{machine['processor']}, {machine['threads']} thread{'s' * (machine['threads'] != 1)}"


def machines_notes(table: dict[str, Any]) -> list[str]:
    """A sentence that names the rows of each machine; none where all results are of one.

    Args:
        table: table.json's content; rows that an earlier version wrote do not say where they were measured.
    """
    rows: dict[str, list[str]] = {}
    for row in table["rows"]:
        words = [machine_words(one) for one in row.get("machines", ())]
        where = words[0] if len(words) == 1 else f"a mean over {' and '.join(words)}" if words else "not recorded"
        rows.setdefault(where, []).append(row["name"])
    known = [one for row in table["rows"] for one in row.get("machines", ())]
    if all(one == known[0] for one in known):
        return []
    named = (f"{', '.join(own)}: {where}" for where, own in rows.items())
    return [f"Speeds were measured on different machines; compare those of one machine alone. {'; '.join(named)}."]
