"""`fairseq-kd synthetic`: a corpus of a made-up language pair."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--output", required=True, metavar="DIR", type=Path, help="folder that gets {train,valid,test}.{src,tgt}")
    for split, count in (("train", 12000), ("valid", 300), ("test", 1000)):
        add(f"--{split}", type=int, default=count, metavar="N", help=f"rows of {split} (%(default)s)")
    add("--seed", type=int, default=1, metavar="S", help="random seed of the language and the sentences (%(default)s)")
    add("--styles", type=int, default=3, metavar="K", help="number of hidden styles, 1 to 6 (%(default)s)")
    add("--synonyms", type=int, default=3, metavar="K",
        help="largest number of synonyms of a word, 1 to 4 (%(default)s)")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Write the corpus."""
    from fairseq_kd.corpus.synthetic import synthesise

    synthesise(
        options.output,
        train=options.train,
        valid=options.valid,
        test=options.test,
        seed=options.seed,
        styles=options.styles,
        synonyms=options.synonyms,
    )
