"""`fairseq-kd select`: of n-best lists, take the candidates closest to the gold target (Seq-Inter)."""

import argparse
from pathlib import Path

from fairseq_kd.cli.shared_options import add_language_arguments, languages_of
from fairseq_kd.corpus.seq_inter.similarity import METRICS, SMOOTH_METHODS, TOKENIZERS, Similarity
from fairseq_kd.data.text.subwords import POST_PROCESSES
from fairseq_kd.data.text.unspaced import AUTO
from fairseq_kd.storage.files import one_line_errors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--nbest", required=True, metavar="FILE", type=Path, help="SUBSET.nbest.tsv of fairseq-kd decode --nbest N")
    add("--reference", metavar="FILE", type=Path,
        help="the gold target: detokenised text, one line a row, also .gz, .xz or .zst, or the data-bin that was "
        "decoded; none with --metric mbr-bleu and mbr-chrf")  # fmt: skip
    add_language_arguments(parser, "where a data-bin as --reference holds several and FILE has no signature")
    add("--metric", default=METRICS[0], choices=METRICS,
        help="measure of closeness to the gold target or, with mbr, to the other candidates (%(default)s)")  # fmt: skip
    add("--output", required=True, metavar="DIR", type=Path, help="folder that gets the chosen text and report.json")
    add("--post-process", default="sentencepiece", choices=POST_PROCESSES,
        help="how subwords of candidates, and of a data-bin's targets, are joined (%(default)s)")  # fmt: skip
    add("--tokenize", default="", choices=(AUTO, *TOKENIZERS),
        help="sacreBLEU's tokenizer for BLEU (auto: zh for Chinese, char for other text without spaces, else "
        "13a)")  # fmt: skip
    add("--smooth-method", default="", choices=SMOOTH_METHODS,
        help=f"sacreBLEU's smoothing of BLEU ({SMOOTH_METHODS[0]})")  # fmt: skip
    add("--workers", type=int, metavar="N", help="number of processes (default: one for each processor)")
    add("--block-rows", type=int, default=1000,
        help="rows written at a time; a killed run loses at most these (%(default)s)")  # fmt: skip


def similarity_of(options: argparse.Namespace) -> Similarity:
    """The measure of closeness.

    Raises:
        UserError: the options of its metric do not go together.
    """
    tokenize = options.tokenize or ("" if options.metric.endswith("chrf") else AUTO)
    return Similarity(options.metric, options.post_process, tokenize, options.smooth_method)


def run(options: argparse.Namespace) -> None:
    """Select, and print what was chosen."""
    from fairseq_kd.corpus.seq_inter.select import select, summary

    report = select(
        options.nbest,
        options.reference,
        options.output,
        similarity_of(options),
        workers=options.workers,
        block_rows=options.block_rows,
        languages=languages_of(options),
    )
    print(summary(report))


if __name__ == "__main__":
    # scripts/generate_distilled_corpus.sh asks before it decodes.
    from fairseq_kd.corpus.seq_inter.select import check_reference

    asked = argparse.ArgumentParser()
    add_arguments(asked)
    given = asked.parse_args()
    with one_line_errors():
        check_reference(given.reference, similarity_of(given))
