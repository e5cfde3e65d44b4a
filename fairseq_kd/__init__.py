"""Knowledge distillation for fairseq. Importing the package registers the task and the criterions with fairseq and
lets torch read fairseq's checkpoints without running the code a pickle may hold."""

import logging

# It asks for tensorboardX at every start of every command.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)

from fairseq_kd.networks.checkpoints import allow_fairseq_classes  # noqa: E402

# Before anything of fairseq reads a checkpoint.
allow_fairseq_classes()

# fairseq imports a plugin's tasks/ by itself, but not its criterions/.
from fairseq_kd import criterions, tasks  # noqa: E402, F401
