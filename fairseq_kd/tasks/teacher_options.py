"""The options of every task that has a teacher at hand."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass


@dataclass
class TeacherOptions(FairseqDataclass):
    """The teacher, its dictionaries and its number format; and what becomes of a pruned student's zeros."""

    teacher_path: Optional[str] = field(  # noqa: UP045 (fairseq reads the annotation)
        default=None,
        metadata={"help": "the teacher's checkpoint; with several, joined by ':', the mean of their probabilities"},
    )
    teacher_data: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "folder with the teacher's dict.*.txt (default: the checkpoint's folder, else the data-bin that "
            "the checkpoint names)"
        },
    )
    assume_same_dictionary: bool = field(
        default=False,
        metadata={"help": "do not compare the teacher's dictionaries with the student's, nor read --teacher-data"},
    )
    teacher_fp16: bool = field(
        default=False, metadata={"help": "load the teacher in float16; needs a GPU (default: the student's dtype)"}
    )
    teacher_bf16: bool = field(
        default=False, metadata={"help": "load the teacher in bfloat16; faster on hardware that multiplies bfloat16"}
    )
    freeze_embeddings: bool = field(
        default=False,
        metadata={
            "help": "do not train the embeddings of symbols and positions, nor an output projection that shares them"
        },
    )
    keep_zeros: bool = field(
        default=False,
        metadata={"help": "keep those weights at zero that are zero at the start, as in a pruned checkpoint"},
    )


@dataclass
class TranslationTeacherOptions(TeacherOptions):
    """Those of a bilingual student: where its teacher's languages, distributions and translations come from."""

    teacher_source_lang: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "source language of a multilingual teacher, by its own name (default: the data's)"},
    )
    teacher_target_lang: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "target language of a multilingual teacher, by its own name (default: the data's)"},
    )
    teacher_cache: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "folder that fairseq-kd cache wrote: train on its soft targets and load no teacher; options "
            "of loading one then have no effect. For several data-bins, as many folders, joined by ':'"
        },
    )
    distilled_data: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "data-bin with the same sources, row by row, and the teacher's output as targets; for several "
            "data-bins, as many, joined by ':'"
        },
    )
    teacher_spm: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "sentencepiece model of a teacher with other subwords than the student's; SOURCE:TARGET for two "
            "models (for --teacher-vocabulary of token_kd)"
        },
    )
    student_post_process: ChoiceEnum(("sentencepiece", "none")) = field(  # type: ignore[valid-type]
        default="sentencepiece",
        metadata={"help": "how the student's subwords are joined to text for --teacher-spm; none: they are words"},
    )
