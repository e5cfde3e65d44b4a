"""Whether costs and risks were measured beside the model of the row that `fairseq-kd table --teacher` names."""

from collections.abc import Sequence
from typing import Any


def is_teacher(table: dict[str, Any], hashes: Sequence[str]) -> bool:
    """Whether the table's teacher row has a model of these checkpoints.

    Args:
        table: table.json's content.
        hashes: the SHA-256 of each checkpoint.
    """
    models = table["signature"]["models"].get(table["teacher"], [])
    return list(hashes) in [model["sha256"] for model in models]


def other_teacher(table: dict[str, Any], hashes: Sequence[str] | None) -> str:
    """A sentence for figures that are beside another model than the teacher row's; "" for all other tables.

    Args:
        table: table.json's content.
        hashes: as for :func:`is_teacher`; None where the figures are beside no model, or an old table lacks them.
    """
    if table["teacher"] is None or hashes is None or is_teacher(table, hashes):
        return ""
    named = ", ".join(f"{one[:12]}…" for one in hashes)
    return f" That teacher (SHA-256 {named}) is not the model of the row {table['teacher']}."
