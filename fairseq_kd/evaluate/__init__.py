"""Scores, teacher-forced measures, risks and costs of a model.

The functions of this room are imported when they are first asked for, so that `fairseq-kd evaluate --help` needs
neither torch nor fairseq.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairseq_kd.evaluate.evaluation import evaluate
    from fairseq_kd.evaluate.mutual_risks import risks

__all__ = ["evaluate", "risks"]
_MODULES = {"evaluate": "evaluation", "risks": "mutual_risks"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
