"""`fairseq-kd evaluate`: translate a data-bin's subset, and write its scores, speed and size as one JSON."""

import argparse
import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from fairseq.data.data_utils import post_process
from fairseq.tasks.translation import TranslationTask
from tqdm import tqdm

from fairseq_kd.compress.packing import read_state
from fairseq_kd.data.databin import open_databin
from fairseq_kd.data.subwords import POST_PROCESSES
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.fairseq_engine import FairseqEngine
from fairseq_kd.decoding.interface import Engine, Hypothesis
from fairseq_kd.decoding.options import ENGINES, PRECISIONS, DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.cost import add_cost_arguments, measure_costs, plan_costs
from fairseq_kd.evaluate.forced import teacher_forced
from fairseq_kd.evaluate.scores import databin_references, read_references, score_text
from fairseq_kd.networks.checkpoints import build_models
from fairseq_kd.networks.parameters import count_nonzero
from fairseq_kd.storage.files import file_hash, split_paths, write_json
from fairseq_kd.storage.provenance import commit, machine, versions

logger = logging.getLogger(__name__)

WARM_UP_ROWS = 8
NOTE = (
    "target tokens are subwords and </s>, source lengths subwords alone; seconds leave out loading and a warm-up batch;"
    " skipped rows (empty, or longer than the model's positions) are scored as empty lines and count in no rate and no "
    "mode_mass, the mean over sentences of the model's probability of its own translation with its </s>"
)


def now() -> float:
    """Seconds on a clock that waits for the GPU to finish."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def translate_timed(
    engine: Engine, sources: Sequence[torch.Tensor], skipped: Sequence[bool], options: DecodingOptions
) -> tuple[list[Hypothesis], dict[str, float]]:
    """Each row's best hypothesis, and the speed without loading and first-use costs.

    A row that is not asked of the model (``skipped``) counts in none of the rates.
    """
    asked = [source for source, skip in zip(sources, skipped, strict=True) if not skip]
    engine.translate(asked[:WARM_UP_ROWS], options)
    start = now()
    with tqdm(total=len(sources), desc=f"beam {options.beam}", unit="sentence", disable=None) as bar:
        hypotheses = [best[0] for best in engine.translate(sources, options, bar.update)]
        seconds = now() - start
    # each hypothesis also cost the step that made its </s>
    tokens = sum(best.size for best, skip in zip(hypotheses, skipped, strict=True) if not skip)
    speed = {
        "seconds": seconds,
        "sentences_per_second": len(asked) / seconds,
        "target_tokens_per_second": tokens / seconds,
    }
    return hypotheses, speed


def mode_mass(hypotheses: Sequence[Hypothesis], skipped: Sequence[bool]) -> float | None:
    """The mean of p(ŷ|x), the share of its probability that a model puts on its own translation of a source.

    Kim & Rush 2016, section 5 and Table 1, p(t = ŷ): the more of it, the closer greedy search comes to beam search.
    Rows that were not asked of the model (``skipped``) do not count; None where none was.
    """
    found = [best.probability for best, skip in zip(hypotheses, skipped, strict=True) if not skip]
    return statistics.fmean(found) if found else None


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """The content of the JSON file for the options of `fairseq-kd evaluate`.

    Raises:
        UserError: an option is out of range, or a checkpoint, the data-bin or the reference is at fault.
    """
    lengths = DecodingOptions(max_len_a=options.max_len_a, max_len_b=options.max_len_b, max_tokens=options.max_tokens)
    searches = [replace(lengths, beam=beam) for beam in sorted(set(options.beam))]
    paths = split_paths(options.model)
    if not paths:
        raise UserError("--model: names no file; give the path of a fairseq checkpoint (.pt)")
    task = open_databin(options.data, options.subset)
    sources, references = read_subset(task, options)
    plan = plan_costs(options, paths, searches, task)
    chosen = choose_engine(options.engine, options.precision, paths, task)
    engine = chosen.build()
    compared = FairseqEngine(paths, task) if options.compare_fairseq and chosen.engine != "fairseq" else None
    skipped = [not engine.takes(source) for source in sources]
    beams = {}
    for search in searches:
        found, speed = translate_timed(engine, sources, skipped, search)
        hypotheses = [post_process(best.tokens, options.post_process) for best in found]
        if compared:
            _, fairseq = translate_timed(compared, sources, skipped, search)
            speed["fairseq_sentences_per_second"] = fairseq["sentences_per_second"]
        scores = score_text(hypotheses, references)
        rate = speed["sentences_per_second"]
        logger.info("beam %d: BLEU %.2f, %.1f sentences/s", search.beam, scores["bleu"]["score"], rate)
        figures = {**scores, "mode_mass": mode_mass(found, skipped), "sentences": len(sources), **speed}
        beams[str(search.beam)] = {**figures, "hypotheses": hypotheses}
    forced = teacher_forced(build_models(paths, task, role="model"), task, options.subset, options.max_tokens)
    if forced:
        logger.info("teacher-forced accuracy %.2f %%", forced["accuracy"])
    return {
        "name": options.name or Path(paths[0]).resolve().parent.name,
        "seed": options.seed,
        "models": [{"path": path, "sha256": file_hash(path)} for path in paths],
        "parameters": engine.parameters,
        "nonzero_parameters": sum(count_nonzero(read_state(path)["model"])[1] for path in paths),
        "languages": [task.cfg.source_lang, task.cfg.target_lang],
        **{key: getattr(options, key) for key in ("data", "subset", "post_process", "reference")},
        "engine": chosen.engine,
        "precision": chosen.precision,
        "decoding": {key: value for key, value in asdict(lengths).items() if key not in ("beam", "nbest")},
        **({"cost": measure_costs(plan)} if plan else {}),
        "skipped": sum(skipped),
        "note": NOTE,
        "beams": beams,
        "teacher_forced": forced,
        "source_lengths": [len(source) - 1 for source in sources],
        "references": references,
        **{"versions": versions(), "machine": machine(), "commit": commit()},
    }


def read_subset(task: TranslationTask, options: argparse.Namespace) -> tuple[list[torch.Tensor], list[str]]:
    """The subset's sources, as token ids ending in ``</s>``, and its references, as detokenised text.

    Raises:
        UserError: the subset is empty or lacks references, or the --reference file does not fit it.
    """
    dataset = task.dataset(options.subset)
    sources = [dataset.src[row] for row in range(len(dataset))]
    if not sources:
        raise UserError(f"data-bin {options.data}: subset {options.subset!r} has no rows")
    if options.reference:
        return sources, read_references(options.reference, len(sources))
    return sources, databin_references(task, options.subset, options.post_process)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fairseq-kd evaluate`."""
    defaults = DecodingOptions()
    parser.add_argument(
        "--model", required=True, metavar="CKPT[:CKPT...]", help="fairseq checkpoint; several: ensemble"
    )
    parser.add_argument("--data", required=True, metavar="DATABIN", help="folder made by fairseq-preprocess")
    parser.add_argument("--subset", default="test", help="split of the data-bin (default: %(default)s)")
    parser.add_argument("--beam", type=int, nargs="+", default=[1, 5], metavar="N", help="beam sizes (default: 1 5)")
    parser.add_argument("--output", required=True, metavar="FILE.json", help="where the result goes")
    parser.add_argument("--name", help="row of the table (default: the name of the checkpoint's folder)")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="training seed; results of one name are grouped over seeds"
    )
    parser.add_argument(
        "--reference",
        metavar="FILE",
        help="detokenised text, a line for each row (default: the data-bin's target side)",
    )
    parser.add_argument(
        "--post-process", choices=POST_PROCESSES, default="sentencepiece", help="how subwords are joined (%(default)s)"
    )
    parser.add_argument(
        "--max-len-a", type=float, default=defaults.max_len_a, help="output ≤ a × source length + b (%(default)s)"
    )
    parser.add_argument("--max-len-b", type=int, default=defaults.max_len_b, help="see --max-len-a (%(default)s)")
    parser.add_argument(
        "--engine", choices=ENGINES, default="auto", help="what decodes; auto: ctranslate2 if it can (%(default)s)"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="what ctranslate2 computes in (%(default)s)"
    )
    parser.add_argument(
        "--compare-fairseq", action="store_true", help="beside ctranslate2's speed, measure that of fairseq's engine"
    )
    parser.add_argument(
        "--max-tokens", type=int, default=defaults.max_tokens, help="source tokens in a batch (%(default)s)"
    )
    add_cost_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Evaluate and write the file, whole or not at all.

    Raises:
        UserError: the output is a folder or cannot be made, or as :func:`evaluate`.
    """
    output = Path(options.output)
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder; give a file name")
    output.parent.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    write_json(options.output, evaluate(options))
