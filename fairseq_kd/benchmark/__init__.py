"""Speed and memory beside fairseq's and sacreBLEU's own.

The function of this room is imported when it is first asked for, so that `fairseq-kd benchmark --help` needs neither
torch nor fairseq.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairseq_kd.benchmark.comparison import benchmark

__all__ = ["benchmark"]
_MODULES = {"benchmark": "comparison"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
