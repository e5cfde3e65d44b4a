"""`fairseq-kd VERB`: everything around training. Each verb is a module with ``add_arguments`` and ``run``."""

import argparse
import importlib
import sys
from collections.abc import Collection

from fairseq_kd.cli.messages import VARIABLE, on_terminal
from fairseq_kd.errors import UserError

VERBS = {
    "synthetic": ("fairseq_kd.corpus.synthetic", "make a small language pair with several right translations"),
    "noise": ("fairseq_kd.corpus.noise", "give a share of the training rows the target of another row"),
    "prepare": ("fairseq_kd.corpus.prepare", "check raw text and cut it into sentencepiece subwords"),
    "decode": ("fairseq_kd.corpus.decode", "write a model's translations of a data-bin's split"),
    "select": ("fairseq_kd.corpus.seq_inter.select", "of n-best lists, take what is closest to the gold target"),
    "cache": ("fairseq_kd.corpus.cache", "write a teacher's distributions on a data-bin's split"),
    "merge": ("fairseq_kd.corpus.merge", "join and verify what the shards of a decode wrote"),
    "evaluate": ("fairseq_kd.evaluate.evaluation", "score a model: BLEU, chrF, TER, speed, size"),
    "risks": ("fairseq_kd.evaluate.risks", "measure how likely teacher and student find each other's samples"),
    "benchmark": ("fairseq_kd.benchmark.comparison", "measure speed and memory beside fairseq's own"),
    "table": ("fairseq_kd.report.table", "put scores side by side: Markdown, JSON and a picture"),
    "study": ("fairseq_kd.study.build", "draw scores over an axis: a size, a noise, sentence lengths, the decoding"),
    "diagnose": ("fairseq_kd.diagnose.diagnosis", "measure what a teacher's task is like, and say how to distil there"),
    "init-student": ("fairseq_kd.compress.init_student", "make a student from spaced layers of its teacher"),
    "prune": ("fairseq_kd.compress.prune", "set a model's smallest weights to zero"),
    "export": ("fairseq_kd.compress.export", "make a model deployable: a folder for CTranslate2, or a sparse file"),
    "last-checkpoint": ("fairseq_kd.cli.last_checkpoint", "print the newest sound checkpoint of a folder"),
    "user-dir": ("fairseq_kd.cli.user_dir", "print what to give to fairseq's --user-dir"),
}


def build_parser(verbs: Collection[str] = tuple(VERBS)) -> argparse.ArgumentParser:
    """The parser of `fairseq-kd`. It imports the modules of ``verbs`` alone, so no other verb knows its options."""
    parser = argparse.ArgumentParser(prog="fairseq-kd", description="Knowledge distillation around fairseq-train.")
    add_verbose(parser, False)
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (module, summary) in VERBS.items():
        verb = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        add_verbose(verb, argparse.SUPPRESS)  # where it is not given behind the verb, the value in front of it stays
        if name in verbs:
            importlib.import_module(module).add_arguments(verb)
    return parser


def add_verbose(parser: argparse.ArgumentParser, default: bool | str) -> None:
    """Declare --verbose, which may stand before or after the verb."""
    words = f"show all log lines and warnings, those of libraries too (setting ${VARIABLE} does the same)"
    parser.add_argument("--verbose", action="store_true", default=default, help=words)


def main(arguments: list[str] | None = None) -> None:
    """Run one verb. The modules of the other verbs are not imported."""
    words = sys.argv[1:] if arguments is None else arguments
    with on_terminal(verbose="--verbose" in words):
        options = build_parser([word for word in words if word in VERBS][:1]).parse_args(words)
        run_verb(options)


def run_verb(options: argparse.Namespace) -> None:
    """Run the verb that the command line names; an error of the file system becomes a :class:`UserError`."""
    try:
        importlib.import_module(VERBS[options.verb][0]).run(options)
    except OSError as error:
        if error.filename is None:
            raise
        raise UserError(f"{error.filename}: {error.strerror}") from None
