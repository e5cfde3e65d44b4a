"""Tables and pictures, made from result files alone: no model is loaded.

The function of this room is imported when it is first asked for, so that `fairseq-kd table --help` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairseq_kd.report.score_table import table

__all__ = ["table"]
_MODULES = {"table": "score_table"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
