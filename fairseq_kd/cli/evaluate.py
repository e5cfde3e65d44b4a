"""`fairseq-kd evaluate`: the options of :func:`fairseq_kd.evaluate.evaluate`."""

import argparse

from fairseq_kd.cli.shared_options import (
    add_language_arguments,
    add_length_arguments,
    add_search_arguments,
    languages_of,
    lengths_of,
    search_of,
)
from fairseq_kd.data.text.subwords import POST_PROCESSES
from fairseq_kd.data.text.unspaced import AUTO
from fairseq_kd.decoding.options import ENGINES, PRECISIONS, VOCABULARY_MAP, DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.options import DETOKENIZERS, METRICS, CostOptions, ScoreOptions
from fairseq_kd.evaluate.scoring.tokenizers import TOKENIZERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--model", required=True, metavar="CKPT[:CKPT...]", help="fairseq checkpoint; several are an ensemble")
    add("--data", required=True, metavar="DATABIN", help="folder made by fairseq-preprocess")
    add_language_arguments(parser)
    add("--subset", default="test", help="split of the data-bin (default: %(default)s)")
    add("--beam", type=int, nargs="+", default=[1, 5], metavar="N", help="beam sizes (default: 1 5)")
    add_search_arguments(parser)
    add("--output", required=True, metavar="FILE.json", help="file for the result")
    add("--name", help="name of the table's row (default: the name of the checkpoint's folder)")
    add("--seed", type=int, metavar="N",
        help="training seed; fairseq-kd table averages the results of one name over seeds")  # fmt: skip
    add("--reference", nargs="+", metavar="FILE",
        help="detokenised text, one line for each row, also .gz, .xz or .zst; several files behind one --reference are "
        "several references of each row, an empty line is none (default: the data-bin's target side)")  # fmt: skip
    add("--post-process", choices=POST_PROCESSES, default="sentencepiece", help="how subwords are joined (%(default)s)")
    add("--tokenize", choices=(AUTO, *TOKENIZERS), default=AUTO,
        help="sacreBLEU's tokenizer for BLEU; auto: zh for Chinese, ja-mecab for Japanese, char for other text without "
        "spaces, else 13a (%(default)s)")  # fmt: skip
    add("--lowercase", action="store_true",
        help="BLEU and chrF take upper and lower case as the same, as sacreBLEU's TER always does")  # fmt: skip
    add("--detokenize", choices=DETOKENIZERS, default=DETOKENIZERS[0],
        help="how tokenised text becomes plain text; auto: moses where the data-bin's target is Moses-tokenised "
        "(%(default)s)")  # fmt: skip
    add_length_arguments(parser)
    add("--engine", choices=ENGINES, default="auto",
        help="engine; auto: ctranslate2 where it takes the model, else fairseq (%(default)s)")  # fmt: skip
    add("--precision", choices=PRECISIONS, default="float32", help="number format of ctranslate2 (%(default)s)")
    add("--shortlist", metavar="PATH",
        help="translate with a lexical shortlist, and compare with translating without it; a folder of fairseq-kd "
        f"export --shortlist, or its {VOCABULARY_MAP}; needs ctranslate2")  # fmt: skip
    add("--compare-fairseq", action="store_true",
        help="where ctranslate2 decodes, also measure the speed of fairseq's own search")  # fmt: skip
    add("--save-outputs", metavar="FILE.jsonl",
        help="also write a line for each sentence: source, reference and each beam's translation with BLEU and "
        "chrF")  # fmt: skip
    add("--metrics", action="extend", nargs="+", choices=METRICS, default=[],
        help="also score these; rouge: ROUGE-1, -2 and -L, needs the package rouge-score; bleu1: BLEU of words; bleu2: "
        "BLEU of words and pairs of words")  # fmt: skip
    add("--comet", metavar="MODEL",
        help="also score with this COMET model, against the first reference; needs the package "
        "unbabel-comet")  # fmt: skip
    _add_cost_arguments(parser)


def _add_cost_arguments(parser: argparse.ArgumentParser) -> None:
    add, defaults = parser.add_argument, CostOptions()
    add("--cost", type=int, nargs="?", const=defaults.rounds, metavar="ROUNDS",
        help="also measure speed and memory of decoding, in batches and one by one, with both engines or that of "
        "--engine, in float32 and int8 whatever --precision is; medians over this many rounds "
        f"({defaults.rounds})")  # fmt: skip
    add("--cost-rows", type=int, metavar="N", help=f"number of rows that --cost decodes ({defaults.rows})")
    add("--teacher", metavar="CKPT[:CKPT...]",
        help="model that --cost measures beside this one, with the largest --beam")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Score the model and write the file."""
    from fairseq_kd.evaluate import evaluate

    evaluate(
        options.model,
        options.data,
        subset=options.subset,
        languages=languages_of(options),
        beams=options.beam,
        lengths=DecodingOptions(**lengths_of(options), **search_of(options)),
        engine=options.engine,
        precision=options.precision,
        shortlist=options.shortlist,
        compare_fairseq=options.compare_fairseq,
        scoring=ScoreOptions(
            reference=options.reference,
            post_process=options.post_process,
            tokenize=options.tokenize,
            lowercase=options.lowercase,
            detokenize=options.detokenize,
            metrics=options.metrics,
            comet=options.comet,
        ),
        cost=_cost(options),
        name=options.name,
        seed=options.seed,
        output=options.output,
        save_outputs=options.save_outputs,
    )


def _cost(options: argparse.Namespace) -> CostOptions | None:
    """How costs are measured; None without --cost."""
    if options.cost is None:
        for option, value in (("--teacher", options.teacher), ("--cost-rows", options.cost_rows)):
            if value is not None:
                raise UserError(f"{option}: needs --cost")
        return None
    rows = CostOptions().rows if options.cost_rows is None else options.cost_rows
    return CostOptions(options.cost, rows, options.teacher)
