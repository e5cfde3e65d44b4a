"""Scores, teacher-forced measures, risks and costs of a model.

The functions of this room are imported when they are first asked for, so that `fairseq-kd evaluate --help` needs
neither torch nor fairseq.
"""

from typing import TYPE_CHECKING

from fairseq_kd.lazy import lazily

if TYPE_CHECKING:
    from fairseq_kd.evaluate.evaluation import evaluate
    from fairseq_kd.evaluate.mutual_risks import risks

__all__ = ["evaluate", "risks"]
__getattr__ = lazily(__name__, {"evaluate": "evaluation", "risks": "mutual_risks"})
