"""What a task is like, and which method it calls for.

The function of this room is imported when it is first asked for, so that `fairseq-kd diagnose --help` needs neither
torch nor fairseq.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairseq_kd.diagnose.diagnosis import diagnose

__all__ = ["diagnose"]
_MODULES = {"diagnose": "diagnosis"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
