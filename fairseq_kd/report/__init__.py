"""Tables, pictures and the HTML report, made from result files alone: no model is loaded.

The functions of this room are imported when they are first asked for, so that `fairseq-kd table --help` is
quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairseq_kd.report.page.build import report
    from fairseq_kd.report.score_table import table

__all__ = ["report", "table"]
_MODULES = {"report": "page.build", "table": "score_table"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
