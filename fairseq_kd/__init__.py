"""Knowledge distillation for fairseq.

fairseq imports this package for ``--user-dir``, and then :func:`register` runs by itself. Without fairseq the import is
quick: `fairseq-kd --help` answers before torch or fairseq is loaded.
"""

import logging
import sys


def register() -> None:
    """Register the task and the criterions with fairseq, and let torch read fairseq's checkpoints safely.

    It runs by itself where fairseq was imported before this package. Otherwise call it before you build a task.
    """
    from fairseq_kd import criterions, tasks  # noqa: F401


def _of_use(record: logging.LogRecord) -> bool:
    """Whether a message of fairseq's text-to-speech task, which this package never runs, tells more than its import."""
    return "install tensorboardX" not in record.getMessage()


if "fairseq" in sys.modules:
    register()
else:
    # A training with --tensorboard-logdir is told by another logger.
    logging.getLogger("fairseq.tasks.text_to_speech").addFilter(_of_use)
