"""Scores over an axis, and where lines cross.

The function of this room is imported when it is first asked for, so that `fairseq-kd study --help` is quick.
"""

from typing import TYPE_CHECKING

from fairseq_kd.lazy import lazily

if TYPE_CHECKING:
    from fairseq_kd.study.build import study

__all__ = ["study"]
__getattr__ = lazily(__name__, {"study": "build"})
