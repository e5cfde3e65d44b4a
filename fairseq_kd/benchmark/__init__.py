"""Speed and memory beside fairseq's and sacreBLEU's own.

The function of this room is imported when it is first asked for, so that `fairseq-kd benchmark --help` needs neither
torch nor fairseq.
"""

from typing import TYPE_CHECKING

from fairseq_kd.lazy import lazily

if TYPE_CHECKING:
    from fairseq_kd.benchmark.comparison import benchmark

__all__ = ["benchmark"]
__getattr__ = lazily(__name__, {"benchmark": "comparison"})
