"""`fairseq-kd distil-corpus`: a teacher's translations as a data-bin for students.

scripts/generate_distilled_corpus.sh does the work.
"""

import argparse
from pathlib import Path

from fairseq_kd.cli.bundled import run_script
from fairseq_kd.cli.recut import SOURCES
from fairseq_kd.cli.shared_options import (
    add_direction_arguments,
    add_engine_arguments,
    add_sampling_arguments,
    add_search_arguments,
    add_text_arguments,
)
from fairseq_kd.corpus.seq_inter.similarity import METRICS, SMOOTH_METHODS, TOKENIZERS
from fairseq_kd.data.text.subwords import POST_PROCESSES
from fairseq_kd.data.text.unspaced import AUTO


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options: those of `fairseq-kd decode`, and what becomes of the decoded text."""
    parser.allow_abbrev = False  # the script reads whole names
    add = parser.add_argument
    add("--model", required=True, metavar="CKPT[:CKPT...]|FOLDER",
        help="the teacher; several decode as an ensemble; for --input also another maker's folder")  # fmt: skip
    add("--data", metavar="DATABIN",
        help="the gold data-bin, with the teacher's dictionaries; for --input, the folder of dictionaries")  # fmt: skip
    add("--input", type=Path, metavar="FILE",
        help="raw text to translate instead, perhaps compressed; needs --student-data and --student-spm")  # fmt: skip
    add("--output", required=True, metavar="DIR", type=Path,
        help="folder that gets train.SRC and train.TGT (--input: text.*), signature.json and data-bin/")  # fmt: skip
    add("--shards", type=int, default=1, metavar="N", help="decodes side by side on this machine (%(default)s)")
    add("--shard", type=int, metavar="I",
        help="decode this share only, 0 to N - 1, and end: for several machines")  # fmt: skip
    _add_seq_inter_arguments(parser)
    _add_student_arguments(parser)
    add("--post-process", choices=POST_PROCESSES,
        help="with --seq-inter or a student's own subwords: how the teacher's subwords are joined")  # fmt: skip
    add_direction_arguments(parser)
    add_text_arguments(parser, "--input: ")
    add_engine_arguments(parser)
    add_search_arguments(parser)
    add("--sampling", action="store_true", help="draw translations at random from the model; --beam is ignored")
    add_sampling_arguments(parser)
    add("--nbest", type=int, help="translations kept for each row (1; with --seq-inter as --beam)")
    add("--block-rows", type=int, default=1000,
        help="rows written at a time; a killed run loses at most these (%(default)s)")  # fmt: skip


def _add_seq_inter_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--seq-inter", action="store_true",
        help="take from lists of 35 translations, or --beam, the one closest to the gold target")  # fmt: skip
    add("--reference", metavar="FILE",
        help="--seq-inter: text of the gold target, also .gz, .xz or .zst (default: DATABIN's)")  # fmt: skip
    add("--metric", choices=METRICS, help=f"--seq-inter: measure of closeness ({METRICS[0]})")
    add("--tokenize", choices=(AUTO, *TOKENIZERS), help="--seq-inter: sacreBLEU's tokenizer for BLEU (auto)")
    add("--smooth-method", choices=SMOOTH_METHODS,
        help=f"--seq-inter: sacreBLEU's smoothing of BLEU ({SMOOTH_METHODS[0]})")  # fmt: skip


def _add_student_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--student-data", metavar="DATABIN", help="data-bin of the same text in the student's own subwords")
    add("--student-spm", metavar="FILE", help="with --student-data: the sentencepiece model that cut it")
    add("--vocab-size", type=int, metavar="N",
        help="train a sentencepiece model of N subwords for the student; DIR/student gets it")  # fmt: skip
    add("--source", choices=SOURCES,
        help="with --student-data: where the source side comes from, the student's data-bin or the decoded text cut "
        f"anew ({SOURCES[0]})")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Decode, select and binarise; a run that was stopped goes on."""
    run_script("generate_distilled_corpus.sh", "distil-corpus", options.words, verbose=options.verbose)
