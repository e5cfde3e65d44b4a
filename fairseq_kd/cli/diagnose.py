"""`fairseq-kd diagnose`: the options of :func:`fairseq_kd.diagnose.diagnose`."""

import argparse

from fairseq_kd.cli.shared_options import add_language_arguments, add_length_arguments, languages_of, lengths_of
from fairseq_kd.data.text.subwords import POST_PROCESSES
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.diagnose.options import SpeedWish
from fairseq_kd.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--teacher", required=True, metavar="CKPT", help="the teacher")
    add("--data", required=True, metavar="DATABIN", help="fairseq-preprocess's output, with the teacher's dictionaries")
    add("--student", metavar="FILE", help="text file (-: standard input) with the student's options for fairseq-train, "
        "or its checkpoint; only its size counts")  # fmt: skip
    add_language_arguments(parser)
    add("--subset", default="test", help="split of the data-bin (default: %(default)s)")
    add("--reference", metavar="FILE",
        help="detokenised text, one line for each row, also .gz, .xz or .zst (default: the data-bin's "
        "target side)")  # fmt: skip
    add("--post-process", choices=POST_PROCESSES, default="sentencepiece", help="how subwords are joined (%(default)s)")
    add_length_arguments(parser)
    add("--seed", type=int, default=1, help="seed of the samples for TeacherDist (%(default)s)")
    add("--study", action="extend", nargs="*", metavar="FILE.json",
        help="study.json files to recommend from; without a file: only measure (default: results/study_*/study.json of "
        "the clone)")  # fmt: skip
    add("--speedup", type=float, metavar="N",
        help="also name a measured student that is N times as fast as its teacher")  # fmt: skip
    add("--one-by-one", action="store_true", help="--speedup is that of one sentence at a time (default: of batches)")
    add("--shapes", action="extend", nargs="+", metavar="FILE.json",
        help="table.json files with costs of students of several shapes (default: results/shape/table.json of the "
        "clone)")  # fmt: skip
    add("--output", metavar="FILE.json", help="file for the result; it is printed too")


def run(options: argparse.Namespace) -> None:
    """Measure, print Markdown and write the file."""
    from fairseq_kd.diagnose import diagnose
    from fairseq_kd.diagnose.markdown import markdown
    from fairseq_kd.diagnose.shape_files import published_shapes
    from fairseq_kd.diagnose.study_files import published_studies

    studies = published_studies() if options.study is None else options.study or None
    diagnosis = diagnose(
        options.teacher,
        options.data,
        student=options.student,
        subset=options.subset,
        languages=languages_of(options),
        reference=options.reference,
        post_process=options.post_process,
        lengths=DecodingOptions(**lengths_of(options)),
        seed=options.seed,
        studies=studies,
        wish=_wish(options),
        shapes=published_shapes() if options.shapes is None else options.shapes,
        output=options.output,
    )
    print(markdown(diagnosis), end="")


def _wish(options: argparse.Namespace) -> SpeedWish | None:
    """The speed that the student should have; None without --speedup."""
    if options.speedup is None:
        for option, given in (("--one-by-one", options.one_by_one), ("--shapes", options.shapes)):
            if given:
                raise UserError(f"{option}: needs --speedup")
        return None
    return SpeedWish(options.speedup, not options.one_by_one)
