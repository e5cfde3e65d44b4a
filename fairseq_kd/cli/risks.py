"""`fairseq-kd risks`: the options of :func:`fairseq_kd.evaluate.risks`."""

import argparse

from fairseq_kd.cli.shared_options import add_language_arguments, add_sampling_arguments, languages_of
from fairseq_kd.decoding.options import Sampling
from fairseq_kd.evaluate.options import SamplePlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add, defaults = parser.add_argument, SamplePlan()
    add("--teacher", required=True, metavar="CKPT", help="the teacher")
    add("--model", required=True, metavar="CKPT",
        help="the student; with the teacher's checkpoint here, the coverage risk is the teacher's entropy")  # fmt: skip
    add("--data", required=True, metavar="DATABIN", help="fairseq-preprocess's output, with both models' dictionaries")
    add_language_arguments(parser)
    add("--subset", default="test", help="split of the data-bin (default: %(default)s)")
    add("--samples", type=int, default=defaults.samples, metavar="N",
        help="samples of each model and source (%(default)s)")  # fmt: skip
    add("--output", required=True, metavar="FILE.json", help="file for the result")
    add_sampling_arguments(parser)
    add("--max-len", type=int, default=defaults.sampling.max_len_b, metavar="N",
        help="samples are cut at this number of tokens (%(default)s)")  # fmt: skip
    add("--max-tokens", type=int, default=defaults.max_tokens, help="source tokens in a batch (%(default)s)")


def run(options: argparse.Namespace) -> None:
    """Measure and write the file; a file of the same models, data and samples stays as it is."""
    from fairseq_kd.evaluate import risks

    sampling = Sampling(options.top_k, options.top_p, options.temperature, 0.0, options.max_len)
    plan = SamplePlan(options.samples, sampling, options.seed, options.max_tokens)
    how = {"subset": options.subset, "languages": languages_of(options), "plan": plan, "output": options.output}
    risks(options.teacher, options.model, options.data, **how)
