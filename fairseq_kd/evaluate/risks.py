"""`fairseq-kd risks`: how likely teacher and student find each other's samples (Wen et al. 2023, Table 3)."""

import argparse
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask
from tqdm import tqdm

from fairseq_kd.cli.shared_options import add_sampling_arguments
from fairseq_kd.data.databin import open_databin, source_hashes
from fairseq_kd.decoding.choice import check_models
from fairseq_kd.decoding.options import Sampling
from fairseq_kd.decoding.sampler import check_seed
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.mutual_scores import Measurement, SamplePlan
from fairseq_kd.evaluate.scores import BOOTSTRAP_SAMPLES, bootstrap_seed
from fairseq_kd.networks.checkpoints import build_models, check_checkpoint
from fairseq_kd.storage.files import file_hash, split_paths, write_json
from fairseq_kd.storage.provenance import commit, machine, versions

logger = logging.getLogger(__name__)

NOTE = (
    "nats; likelihood: mean -log p(y'|x) over the student's samples y', coverage: mean -log q(y|x) over the teacher's "
    "samples y, sums over tokens with </s>; per_token: with each sample's mean over its tokens instead; teacher_dist: "
    "distinct subword bigrams over all in the teacher's samples of an input; intervals: 95 % bootstrap over inputs"
)


def mean_with_interval(values: np.ndarray) -> dict[str, Any]:
    """Mean of ``values``, shape (inputs,), and its 95 % percentile bootstrap interval over inputs.

    A value stands for all samples of its input, so that they are resampled together.
    """
    generator, size = np.random.default_rng(bootstrap_seed()), len(values)
    means = [values[generator.integers(size, size=size)].mean() for _ in range(BOOTSTRAP_SAMPLES)]
    return {"mean": float(values.mean()), "interval": np.quantile(means, (0.025, 0.975)).tolist()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fairseq-kd risks`."""
    add = parser.add_argument
    add("--teacher", required=True, metavar="CKPT", help="the teacher")
    add("--model", required=True, metavar="CKPT", help="the student; the teacher again: its entropy, R_cvg's floor")
    add("--data", required=True, metavar="DATABIN", help="fairseq-preprocess's output, with both models' dictionaries")
    add("--subset", default="test", help="split of the data-bin (default: %(default)s)")
    add("--samples", type=int, default=5, metavar="N", help="drawn of each input with each model (%(default)s)")
    add("--output", required=True, metavar="FILE.json", type=Path, help="where the result goes")
    add_sampling_arguments(parser)
    add("--max-len", type=int, default=200, metavar="N", help="where a sample is cut, in tokens (%(default)s)")
    add("--max-tokens", type=int, default=4000, help="source tokens in a batch (%(default)s)")


def run(options: argparse.Namespace) -> None:
    """Measure and write the file, whole or not at all; a file of the same models, data and samples stays as it is.

    Raises:
        UserError: an option is out of range, or a checkpoint, the data-bin or the output is at fault.
    """
    _check(options)
    plan = SamplePlan(
        options.samples,
        Sampling(options.top_k, options.top_p, options.temperature, 0.0, options.max_len),
        options.seed,
        options.max_tokens,
    )
    task = open_databin(options.data, options.subset)
    settings = _settings(options, task, plan)
    if _is_there(options.output, settings):
        logger.info("%s: already measured with these settings; nothing to do", options.output)
        return
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    write_json(options.output, _measure(options, task, plan, settings))


def _check(options: argparse.Namespace) -> None:
    if options.samples < 2:
        raise UserError(f"--samples {options.samples}: give 2 or more; TeacherDist compares the samples of an input")
    for name in ("max_len", "max_tokens"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: give 1 or more")
    check_seed(options.seed)
    if options.output.is_dir():
        raise UserError(f"--output {options.output}: is a folder; give a file name")
    for role in ("teacher", "model"):
        path = getattr(options, role)
        if split_paths(path) != [path]:
            raise UserError(f"--{role} {path!r}: give one checkpoint; samples are drawn from single models")
        check_checkpoint(path, role)


def _settings(options: argparse.Namespace, task: TranslationTask, plan: SamplePlan) -> dict[str, Any]:
    """All that the figures depend on, but for the batch size: that one moves a float32 sum's last bits."""
    return {
        "model": file_hash(options.model),
        "teacher": file_hash(options.teacher),
        "data": source_hashes(options.data, options.subset, task.cfg.source_lang, task.cfg.target_lang),
        "subset": options.subset,
        "rows": len(task.dataset(options.subset)),
        "samples": plan.samples,
        "sampling": {**asdict(plan.sampling), "seed": plan.seed},
    }


def _is_there(output: Path, settings: dict[str, Any]) -> bool:
    try:
        return json.loads(output.read_bytes())["settings"] == settings
    except (OSError, ValueError, TypeError, KeyError):
        return False


def load_model(path: str, task: TranslationTask, role: str) -> BaseFairseqModel:
    """A model to draw from, on the GPU where there is one.

    Raises:
        UserError: the checkpoint cannot be used, or its dictionaries differ from the task's.
    """
    check_models([path], task, role)
    (model,) = build_models([path], task, role)
    model.make_generation_fast_(need_attn=False)
    return model.cuda() if torch.cuda.is_available() else model


def _measure(
    options: argparse.Namespace, task: TranslationTask, plan: SamplePlan, settings: dict[str, Any]
) -> dict[str, Any]:
    """The content of the JSON file."""
    teacher, student = load_model(options.teacher, task, "teacher"), load_model(options.model, task, "model")
    measurement = Measurement(task, options.subset, teacher, student, plan)
    total = 2 * plan.samples * len(measurement.lengths)
    with tqdm(total=total, desc="risks", unit="sample", disable=None) as bar:
        measured = measurement.run(bar.update)
    figures = {name: mean_with_interval(values) for name, values in measured.figures.items()}
    if not all(np.isfinite(figure["mean"]) for figure in figures.values()):
        raise UserError(f"--teacher {options.teacher} or --model {options.model}: an answer of it is no number")
    logger.info(
        "likelihood risk %.2f, coverage risk %.2f, TeacherDist %.3f",
        *(figures[name]["mean"] for name in ("likelihood", "coverage", "teacher_dist")),
    )
    if any(measured.cut.values()):
        logger.warning("cut at --max-len %d: %s samples", plan.sampling.max_len_b, measured.cut)
    return {
        **{key: getattr(options, key) for key in ("model", "teacher", "data")},
        "languages": [task.cfg.source_lang, task.cfg.target_lang],
        "settings": settings,
        "risks": figures,
        "skipped": measured.skipped,
        "cut": measured.cut,
        "bootstrap": {"samples": BOOTSTRAP_SAMPLES, "seed": bootstrap_seed()},
        "note": NOTE,
        **{"versions": versions(), "machine": machine(), "commit": commit()},
    }
