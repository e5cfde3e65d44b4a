"""`fairseq-kd VERB`: everything around training. Each verb is a module of this room."""

import argparse
import importlib
import signal
import sys
from collections.abc import Collection
from types import FrameType
from typing import Any

from fairseq_kd.cli.messages import VARIABLE, on_terminal, print_all
from fairseq_kd.storage.files import one_line_errors
from fairseq_kd.storage.provenance import versions

VERBS = {
    "run": "run an experiment: train a teacher, distil students, score them, make a table",
    "synthetic": "make a small language pair with several right translations",
    "noise": "put noise into the training text: misaligned pairs or noisy words",
    "prepare": "check raw text and cut it into sentencepiece subwords",
    "train": "train with fairseq-train, so that a killed training goes on",
    "distil-corpus": "make a data-bin of a teacher's translations for students",
    "translate": "translate standard input, a line for a line",
    "decode": "write a model's translations of a data-bin's split or of a text file",
    "select": "take from each n-best list the candidate closest to the gold target",
    "recut": "cut decoded text, or a data-bin, with a student's own subwords",
    "filter": "drop rows of a corpus that teach little: empty, copied, looping, badly translated",
    "cache": "write a teacher's next-word distributions for a data-bin's split",
    "merge": "join and verify what the shards of a decode wrote",
    "evaluate": "score a model: BLEU, chrF, TER, speed, size",
    "risks": "measure how likely teacher and student find each other's samples",
    "benchmark": "measure speed and memory, and compare them with fairseq's",
    "table": "put scores side by side: Markdown, JSON and a picture",
    "report": "make an HTML page of results: sortable tables, pictures, sentences side by side",
    "study": "draw scores over an axis, for instance the student's size",
    "diagnose": "measure what a teacher's task is like, and recommend a method",
    "init-student": "make a student from spaced layers of its teacher",
    "prune": "set a model's smallest weights to zero",
    "trim": "remove the symbols that a text never uses from a model and its dictionaries",
    "average": "take the mean of several checkpoints of one training",
    "export": "make a model deployable: a CTranslate2 folder or a sparse file",
    "script": "run another of the stage scripts",
    "last-checkpoint": "print the newest sound checkpoint of a folder",
    "user-dir": "print the plugin's folder, the value of fairseq's --user-dir",
}

HANDS_ON = ("run",)
"""Verbs that give undeclared options to another program."""


class Version(argparse.Action):
    """Print the version of this package and of those that it works with, and end."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Read the installed packages' metadata; no package is imported."""
        found = versions()
        own = found.pop("fairseq-kd", "not installed")
        print(f"fairseq-kd {own} ({', '.join(f'{name} {number}' for name, number in found.items())})")
        parser.exit()


def verb_module(name: str) -> Any:
    """The module of a verb, with its ``add_arguments(parser)`` and ``run(options)``."""
    return importlib.import_module(f"fairseq_kd.cli.{name.replace('-', '_')}")


def build_parser(verbs: Collection[str] = tuple(VERBS)) -> argparse.ArgumentParser:
    """The parser of `fairseq-kd`. It imports the modules of ``verbs`` alone, so no other verb knows its options."""
    parser = argparse.ArgumentParser(prog="fairseq-kd", description="Knowledge distillation around fairseq-train.")
    add_verbose(parser, False)
    parser.add_argument("--version", action=Version, nargs=0, help="print the versions and end")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, summary in VERBS.items():
        verb = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        add_verbose(verb, argparse.SUPPRESS)  # where it is not given behind the verb, the value in front of it stays
        if name in verbs:
            verb_module(name).add_arguments(verb)
    return parser


def add_verbose(parser: argparse.ArgumentParser, default: bool | str) -> None:
    """Declare --verbose, which may stand before or after the verb."""
    words = f"show all log lines and warnings, those of libraries too (setting ${VARIABLE} does the same)"
    parser.add_argument("--verbose", action="store_true", default=default, help=words)


def main(arguments: list[str] | None = None) -> None:
    """Run one verb. The modules of the other verbs are not imported."""
    words = sys.argv[1:] if arguments is None else arguments
    print_all(sys.stdout)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        with on_terminal(verbose="--verbose" in words):
            run_verb(read_words(words))
    except KeyboardInterrupt:
        _end_interrupted()
    except BrokenPipeError:
        # Whoever read standard output has enough, as in `fairseq-kd table … | head`.
        _end_by(signal.SIGPIPE)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; while a module is imported, end at once.

    Libraries catch the exception at the import of another, numpy for instance, and go on with half of it.
    """
    around = frame
    while around is not None:
        if around.f_code.co_filename == "<frozen importlib._bootstrap>":
            _end_interrupted()
        around = around.f_back
    signal.default_int_handler(number, frame)


def _end_interrupted() -> None:
    print("fairseq_kd: interrupted", file=sys.stderr, flush=True)
    _end_by(signal.SIGINT)


def _end_by(number: signal.Signals) -> None:
    """End by a signal, so that a script that called the verb stops too; and without waiting for an engine's threads."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def read_words(words: list[str]) -> argparse.Namespace:
    """The options of a command line.

    Besides the declared options there are ``words``, all words behind the verb but --verbose, and ``others``, those
    that no option declares. Only a verb that hands them on (:data:`HANDS_ON`) takes others.
    """
    parser = build_parser([word for word in words if word in VERBS][:1])
    options, others = parser.parse_known_args(words)
    options.others = others
    if others and options.verb not in HANDS_ON:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    options.verbose = "--verbose" in words
    options.words = [word for word in words[words.index(options.verb) + 1 :] if word != "--verbose"]
    return options


def run_verb(options: argparse.Namespace) -> None:
    """Run the verb that the command line names; an error of the file system becomes a :class:`UserError`."""
    with one_line_errors():
        verb_module(options.verb).run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
