"""The dictionaries of a teacher whose vocabulary is not the student's."""

from pathlib import Path

from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.databin import read_dictionary, translation_task
from fairseq_kd.data.vocabulary import check_languages, dictionary_files, recorded_languages
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.storage.files import split_paths


def teacher_is_there(student: TranslationTask) -> bool:
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
    paths = split_paths(student.cfg.teacher_path or "")
    if not paths:
        raise UserError("this criterion needs a teacher: give its checkpoint with --teacher-path CKPT")
    config = read_checkpoint(paths[0], "teacher")["cfg"]
    check_languages(paths[0], config, student, "teacher")
    files = dictionary_files(paths[0], config, student, student.cfg.teacher_data)
    if isinstance(files, str):
        raise UserError(f"teacher {paths[0]}: {files}; give the teacher's data-bin with --teacher-data DIR")
    source, target = (read_dictionary(file) for file in files)
    return translation_task("", *recorded_languages(config, student), (source, target))
