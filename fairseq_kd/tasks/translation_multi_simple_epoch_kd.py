"""Task ``translation_multi_simple_epoch_kd``: fairseq's multilingual task with a frozen teacher of the same kind."""

import argparse
from typing import Any

from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.tasks import register_task
from fairseq.tasks.translation_multi_simple_epoch import TranslationMultiSimpleEpochTask

from fairseq_kd.networks.teacher_tasks import TeacherTask
from fairseq_kd.tasks.teacher_options import TeacherOptions
from fairseq_kd.tasks.with_teacher import WithTeacher

ABSENT = {"teacher_cache": None, "distilled_data": None}
"""What criterions ask a task's options for and this task does not offer: its rows are drawn anew in each epoch."""


@register_task("translation_multi_simple_epoch_kd")
class TranslationMultiSimpleEpochKDTask(WithTeacher, TranslationMultiSimpleEpochTask):
    """Trains, validates and generates as ``translation_multi_simple_epoch`` does. Criterions ask it for the teacher.

    The batches have the language tokens already, so the teacher gets them as they are. Its task must put the same
    tokens into the same places.
    """

    @staticmethod
    def add_args(parser: argparse.ArgumentParser) -> None:
        """Declare the options of fairseq's task, and the teacher's."""
        TranslationMultiSimpleEpochTask.add_args(parser)
        gen_parser_from_dataclass(parser, TeacherOptions())

    def __init__(self, args: argparse.Namespace, langs: Any, dicts: Any, training: bool):
        super().__init__(args, langs, dicts, training)
        self.cfg = argparse.Namespace(**{**ABSENT, **vars(args)})
        recorded = argparse.Namespace(task=args)
        self.conventions = TeacherTask("", recorded, self, (None, None), "student").conventions()
