"""The teacher that a student's task names, and its dictionaries where its vocabulary is another."""

from pathlib import Path

from fairseq.tasks import FairseqTask
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.databins.databin import read_dictionary, translation_task
from fairseq_kd.data.databins.vocabulary import check_languages, dictionary_files, recorded_languages
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.storage.files import split_paths


def teacher_paths(student: FairseqTask) -> list[str]:
    """The checkpoints that the student's task names with --teacher-path.

    Raises:
        UserError: it names none.
    """
    paths = split_paths(student.cfg.teacher_path or "")
    if not paths:
        raise UserError("this criterion needs a teacher: give its checkpoint with --teacher-path CKPT")
    return paths


def teacher_is_there(student: FairseqTask) -> bool:
    """Whether the student's task names a teacher with --teacher-path and all of its files exist."""
    paths = split_paths(student.cfg.teacher_path or "")
    return bool(paths) and all(Path(path).exists() for path in paths)


def task_of_teacher(student: TranslationTask) -> TranslationTask:
    """fairseq's translation task with the dictionaries of the student's teacher: of its first checkpoint.

    They are found as those of any teacher are: in --teacher-data, beside the checkpoint, or in the data-bin that it
    recorded.

    Args:
        student: the student's task, with the options about the teacher.

    Raises:
        UserError: the checkpoint or a dictionary is missing or damaged, or the checkpoint translates in the opposite
            direction.
    """
    path = teacher_paths(student)[0]
    config = read_checkpoint(path, "teacher")["cfg"]
    check_languages(path, config, student, "teacher")
    files = dictionary_files(path, config, student, student.cfg.teacher_data)
    if isinstance(files, str):
        raise UserError(f"teacher {path}: {files}; give the teacher's data-bin with --teacher-data DIR")
    source, target = (read_dictionary(file) for file in files)
    return translation_task("", *recorded_languages(config, student), (source, target))
