"""`fairseq-kd recut`: text in a teacher's subwords, cut anew with a student's."""

import argparse
from pathlib import Path

from fairseq_kd.cli.shared_options import add_language_arguments, languages_of
from fairseq_kd.data.text.subwords import POST_PROCESSES
from fairseq_kd.errors import UserError

SOURCES = ("databin", "decoded")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--decoded", metavar="DIR", type=Path,
        help="output of fairseq-kd decode or select: the translations to cut anew")  # fmt: skip
    add("--data", metavar="DATABIN", type=Path,
        help="a data-bin to cut anew with all its splits; with --decoded it is not needed")  # fmt: skip
    add_language_arguments(
        parser, "where the data-bin of --data holds several, or --decoded names the languages otherwise"
    )
    add("--student-data", metavar="DATABIN", type=Path, help="with --decoded: the student's data-bin")
    add("--spm-model", metavar="FILE", type=Path, help="the student's sentencepiece model")
    add("--vocab-size", type=int, metavar="N",
        help="with --data: train a sentencepiece model of N subwords instead")  # fmt: skip
    add("--more-text", metavar="FILE", type=Path, action="extend", nargs="+", default=[],
        help="with --vocab-size: files of subwords that the sentencepiece model learns from, too")  # fmt: skip
    add("--post-process", default="sentencepiece", choices=POST_PROCESSES,
        help="how subwords of the teacher are joined (%(default)s); text that decode --input joined stays "
        "as it is")  # fmt: skip
    add("--source", choices=SOURCES,
        help="with --decoded: where the source side comes from, the student's data-bin, which has the same rows, or "
        f"the decoded text cut anew ({SOURCES[0]})")  # fmt: skip
    add("--output", required=True, metavar="DIR", type=Path,
        help="folder that gets SUBSET.SRC, SUBSET.TGT and signature.json; with --data spm.model, dict.txt and "
        "subword/")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Cut, and print what was made."""
    _check(options)
    if options.decoded:
        from fairseq_kd.corpus.recut import recut

        made = recut(
            options.decoded,
            options.student_data,
            options.spm_model,
            options.output,
            post=options.post_process,
            source=options.source or SOURCES[0],
            languages=languages_of(options),
        )
        unknown = ", ".join(f"{share:.2%} of {language}" for language, share in made["unknown"].items())
        print(f"{options.output}: {made['rows']} rows; unknown to the student's dictionary: {unknown}")
        return
    from fairseq_kd.corpus.recut_databin import recut_databin

    rows = recut_databin(
        options.data,
        options.output,
        vocab_size=options.vocab_size,
        spm_model=options.spm_model,
        post=options.post_process,
        more_text=dict.fromkeys(options.more_text, options.post_process),
        languages=languages_of(options),
    )
    print(f"{options.output}/subword: " + ", ".join(f"{count} rows of {split}" for split, count in rows.items()))


def _check(options: argparse.Namespace) -> None:
    if bool(options.decoded) == bool(options.data):
        raise UserError("give either --decoded DIR or --data DATABIN")
    if options.decoded and not (options.student_data and options.spm_model):
        raise UserError("--decoded needs the student's --student-data DATABIN and --spm-model FILE")
    unfit = {"--vocab-size": options.vocab_size, "--more-text": options.more_text} if options.decoded else {}
    unfit = unfit or {"--student-data": options.student_data, "--source": options.source}
    for name, value in unfit.items():
        if value:
            raise UserError(f"{name} goes with --{'data' if options.decoded else 'decoded'}")
    if options.more_text and options.vocab_size is None:
        raise UserError("--more-text goes with --vocab-size; --spm-model learns nothing")
