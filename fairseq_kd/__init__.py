"""Knowledge distillation for fairseq.

fairseq imports this package for ``--user-dir``, and then :func:`register` runs by itself. Without fairseq the import is
quick: `fairseq-kd --help` answers before torch or fairseq is loaded.
"""

import sys


def register() -> None:
    """Register the task and the criterions with fairseq, and let torch read fairseq's checkpoints safely.

    It runs by itself where fairseq was imported before this package. Otherwise call it before you build a task.
    """
    from fairseq_kd import criterions, tasks  # noqa: F401


if "fairseq" in sys.modules:
    register()
