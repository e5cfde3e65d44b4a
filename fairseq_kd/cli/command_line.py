"""`fairseq-kd VERB`: everything around training. Each verb is a module with ``add_arguments`` and ``run``."""

import argparse
import importlib
import sys
from collections.abc import Collection

from fairseq_kd.cli.messages import VARIABLE, on_terminal
from fairseq_kd.errors import UserError

VERBS = {
    "synthetic": ("fairseq_kd.cli.synthetic", "make a small language pair with several right translations"),
    "noise": ("fairseq_kd.cli.noise", "misalign a share of the training pairs"),
    "prepare": ("fairseq_kd.cli.prepare", "check raw text and cut it into sentencepiece subwords"),
    "decode": ("fairseq_kd.cli.decode", "write a model's translations of a data-bin's split"),
    "select": ("fairseq_kd.cli.select", "of n-best lists, take the candidates closest to the gold target"),
    "cache": ("fairseq_kd.cli.cache", "write a teacher's distributions on a data-bin's split"),
    "merge": ("fairseq_kd.cli.merge", "join and verify what the shards of a decode wrote"),
    "evaluate": ("fairseq_kd.evaluate.evaluation", "score a model: BLEU, chrF, TER, speed, size"),
    "risks": ("fairseq_kd.evaluate.risks", "measure how likely teacher and student find each other's samples"),
    "benchmark": ("fairseq_kd.benchmark.comparison", "measure speed and memory beside fairseq's own"),
    "table": ("fairseq_kd.report.table", "put scores side by side: Markdown, JSON and a picture"),
    "study": ("fairseq_kd.study.build", "draw scores over an axis: a size, a noise, sentence lengths, the decoding"),
    "diagnose": ("fairseq_kd.diagnose.diagnosis", "measure what a teacher's task is like, and say how to distil there"),
    "init-student": ("fairseq_kd.cli.init_student", "make a student from spaced layers of its teacher"),
    "prune": ("fairseq_kd.cli.prune", "set a model's smallest weights to zero"),
    "export": ("fairseq_kd.cli.export", "make a model deployable: a folder for CTranslate2, or a sparse file"),
    "last-checkpoint": ("fairseq_kd.cli.last_checkpoint", "print the newest sound checkpoint of a folder"),
    "user-dir": ("fairseq_kd.cli.user_dir", "print what to give to fairseq's --user-dir"),
}


def build_parser(verbs: Collection[str] = tuple(VERBS)) -> argparse.ArgumentParser:
    """The parser of `fairseq-kd`. Only the modules of ``verbs`` are imported, so only these verbs know their options."""
    parser = argparse.ArgumentParser(prog="fairseq-kd", description="Knowledge distillation around fairseq-train.")
    verbose = {
        "action": "store_true",
        "help": f"show all log lines and warnings, libraries' too (or set ${VARIABLE}=1)",
    }
    parser.add_argument("--verbose", **verbose)
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (module, summary) in VERBS.items():
        verb = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        # Not given behind the verb, it stays what it was in front of it.
        verb.add_argument("--verbose", **verbose, default=argparse.SUPPRESS)
        if name in verbs:
            importlib.import_module(module).add_arguments(verb)
    return parser


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
