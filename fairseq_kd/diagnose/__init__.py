"""What a task is like, and which method it calls for.

The function of this room is imported when it is first asked for, so that `fairseq-kd diagnose --help` needs neither
torch nor fairseq.
"""

from typing import TYPE_CHECKING

from fairseq_kd.lazy import lazily

if TYPE_CHECKING:
    from fairseq_kd.diagnose.diagnosis import diagnose

__all__ = ["diagnose"]
__getattr__ = lazily(__name__, {"diagnose": "diagnosis"})
