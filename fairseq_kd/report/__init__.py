"""Tables, pictures and the HTML report, made from result files alone: no model is loaded.

The functions of this room are imported when they are first asked for, so that `fairseq-kd table --help` is
quick.
"""

from typing import TYPE_CHECKING

from fairseq_kd.lazy import lazily

if TYPE_CHECKING:
    from fairseq_kd.report.page.build import report
    from fairseq_kd.report.score_table import table

__all__ = ["report", "table"]
__getattr__ = lazily(__name__, {"report": "page.build", "table": "score_table"})
