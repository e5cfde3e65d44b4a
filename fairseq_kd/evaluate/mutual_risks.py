"""How likely teacher and student find each other's samples (Wen et al. 2023, Table 3)."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask
from tqdm import tqdm

from fairseq_kd.data.databins.databin import open_databin, source_hashes
from fairseq_kd.data.databins.files import UNNAMED, Languages
from fairseq_kd.decoding.choice import check_models
from fairseq_kd.decoding.sampling.sampler import check_seed
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.mutual_scores import Measurement
from fairseq_kd.evaluate.options import SamplePlan
from fairseq_kd.evaluate.result_file import make_place
from fairseq_kd.evaluate.result_shapes import MEASURED
from fairseq_kd.evaluate.scoring.scores import BOOTSTRAP_SAMPLES, bootstrap_seed
from fairseq_kd.networks.checkpoints import build_models, check_checkpoint
from fairseq_kd.networks.data_languages import data_languages
from fairseq_kd.storage.files import file_hash, split_paths, write_json
from fairseq_kd.storage.provenance import commit, machine, versions
from fairseq_kd.storage.structured import Unreadable, read_json

logger = logging.getLogger(__name__)

NOTE = (
    "nats; likelihood: mean -log p(y'|x) over the student's samples y', coverage: mean -log q(y|x) over the teacher's "
    "samples y, sums over tokens with </s>; per_token: with each sample's mean over its tokens instead; teacher_dist: "
    "distinct subword bigrams over all in the teacher's samples of an input; intervals: 95 % bootstrap over inputs"
)


def mean_with_interval(values: np.ndarray) -> dict[str, Any]:
    """The mean of ``values`` and its 95 % percentile bootstrap interval, as "mean" and "interval".

    Args:
        values: one for each source, shape (sources,). A value stands for all samples of its source, so these are
            resampled together.
    """
    generator, size = np.random.default_rng(bootstrap_seed()), len(values)
    means = [values[generator.integers(size, size=size)].mean() for _ in range(BOOTSTRAP_SAMPLES)]
    return {"mean": float(values.mean()), "interval": np.quantile(means, (0.025, 0.975)).tolist()}


def risks(
    teacher: str | Path,
    model: str | Path,
    data: str | Path,
    *,
    subset: str = "test",
    languages: Languages = UNNAMED,
    plan: SamplePlan = SamplePlan(),  # noqa: B008
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Draw samples from a teacher and from a student, and let each model score the other's samples.

    Args:
        teacher: its checkpoint.
        model: the student's checkpoint. The teacher's own makes the coverage risk its entropy, the least it can be.
        data: folder made by fairseq-preprocess, with both models' dictionaries.
        subset: the split whose sources are translated.
        languages: source and target, as :func:`fairseq_kd.data.databins.files.choose_pair` takes them.
        plan: what is drawn; at least two samples of each source.
        output: JSON file to write the result to, whole or not at all; None to write none. If it holds a result of the
            same models, data and samples, nothing is measured and that result is returned.

    Returns:
        The content of the JSON file. "risks" has "likelihood", "coverage", both again with "_per_token", and
        "teacher_dist", each with "mean" and "interval"; risks are in nats. "settings" are what the figures depend on.

    Raises:
        UserError: an option is out of range, a checkpoint or the data-bin cannot be used, a model's scores are not
            finite, or ``output`` is a folder.
    """
    if plan.samples < 2:
        raise UserError(f"--samples {plan.samples}: give 2 or more; TeacherDist compares the samples of a source")
    check_seed(plan.seed)
    bootstrap_seed()  # a wrong one is told before the hours of sampling
    check_single_checkpoint(teacher, "teacher")
    check_single_checkpoint(model, "model")
    task = open_databin(data, subset, data_languages(data, teacher, languages, "teacher"))
    settings = _settings(teacher, model, task, subset, plan)
    made = _read_made(output, settings)
    if made is not None:
        logger.info("%s: already measured with these settings; nothing to do", output)
        return made
    make_place(output)
    result = {
        "model": str(model),
        "teacher": str(teacher),
        "data": str(data),
        "languages": [task.cfg.source_lang, task.cfg.target_lang],
        "settings": settings,
        **_measure(teacher, model, task, subset, plan),
        "bootstrap": {"samples": BOOTSTRAP_SAMPLES, "seed": bootstrap_seed()},
        "note": NOTE,
        **{"versions": versions(), "machine": machine(), "commit": commit()},
    }
    if output is not None:
        write_json(output, result)
    return result


def check_single_checkpoint(path: str | Path, role: str) -> None:
    """Raise a UserError unless ``path`` is one sound checkpoint; ``role`` is the option that gave it."""
    if split_paths(str(path)) != [str(path)]:
        raise UserError(f"--{role} {str(path)!r}: give one checkpoint; samples are drawn from single models")
    check_checkpoint(path, role)


def _settings(
    teacher: str | Path, model: str | Path, task: TranslationTask, subset: str, plan: SamplePlan
) -> dict[str, Any]:
    """All that the figures depend on, except the batch size: that one changes a float32 sum's last bits only."""
    return {
        "model": file_hash(model),
        "teacher": file_hash(teacher),
        "data": source_hashes(task.cfg.data, subset, task.cfg.source_lang, task.cfg.target_lang),
        "subset": subset,
        "rows": len(task.dataset(subset)),
        "samples": plan.samples,
        "sampling": {**asdict(plan.sampling), "seed": plan.seed},
    }


def _read_made(output: str | Path | None, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The result in the file ``output``, if it was made with these settings."""
    if output is None:
        return None
    try:
        made = read_json(output, MEASURED)
    except OSError:
        return None
    except Unreadable as error:
        logger.warning("%s: holds no sound result (%s); measuring again", output, error)
        return None
    return made if made["settings"] == settings else None


def load_model(path: str | Path, task: TranslationTask, role: str) -> BaseFairseqModel:
    """A model to draw from, on the GPU where there is one.

    Raises:
        UserError: the checkpoint cannot be used, or its dictionaries differ from the task's.
    """
    states = check_models([str(path)], task, role)
    (model,) = build_models([str(path)], task, role, states)
    model.make_generation_fast_(need_attn=False)
    return model.cuda() if torch.cuda.is_available() else model


def _measure(
    teacher: str | Path, model: str | Path, task: TranslationTask, subset: str, plan: SamplePlan
) -> dict[str, Any]:
    """The risks with their intervals, how many rows were skipped and samples cut, and the longest sample allowed."""
    models = load_model(teacher, task, "teacher"), load_model(model, task, "model")
    measurement = Measurement(task, subset, *models, plan)
    total = 2 * plan.samples * len(measurement.lengths)
    with tqdm(total=total, desc="risks", unit="sample", disable=None) as bar:
        measured = measurement.run(bar.update)
    figures = {name: mean_with_interval(values) for name, values in measured.figures.items()}
    if not all(np.isfinite(figure["mean"]) for figure in figures.values()):
        raise UserError(
            f"--teacher {teacher} and --model {model}: a model produced NaN or infinite scores; check its weights"
        )
    logger.info(
        "likelihood risk %.2f, coverage risk %.2f, TeacherDist %.3f",
        *(figures[name]["mean"] for name in ("likelihood", "coverage", "teacher_dist")),
    )
    if any(measured.cut.values()):
        cut = ", ".join(f"{number} of the {side}" for side, number in measured.cut.items())
        logger.warning("samples cut at %d tokens: %s", measured.longest, cut)
    if measured.skipped:
        rows = measured.skipped + len(measurement.lengths)
        logger.warning(
            "%d of %d sources are left out: empty, or longer than the models' positions", measured.skipped, rows
        )
    return {"risks": figures, "skipped": measured.skipped, "cut": measured.cut, "longest": measured.longest}
