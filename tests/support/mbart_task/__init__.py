"""A --user-dir with fairseq_kd and a ``translation_from_pretrained_bart`` that runs.

In fairseq 0.12 that task reads ``self.args``, which no task with a configuration has any more.
"""

from fairseq.tasks.translation_from_pretrained_bart import TranslationFromPretrainedBARTTask

import fairseq_kd

fairseq_kd.register()
TranslationFromPretrainedBARTTask.args = property(lambda self: self.cfg)
