"""Measure what a teacher's task is like, and ask studies which way of distilling it calls for."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.tasks.translation import TranslationTask
from tqdm import tqdm

from fairseq_kd.data.databins.databin import open_databin, source_hashes
from fairseq_kd.data.databins.files import UNNAMED, Languages
from fairseq_kd.decoding.choice import check_models
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.sampling.sampler import check_seed
from fairseq_kd.diagnose.advice import advise
from fairseq_kd.diagnose.options import SpeedWish
from fairseq_kd.diagnose.quantities import QUANTITIES
from fairseq_kd.diagnose.shape import advise_shape
from fairseq_kd.diagnose.shape_files import read_tables
from fairseq_kd.diagnose.student_size import student_parameters
from fairseq_kd.diagnose.study_files import read_studies
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate import evaluate
from fairseq_kd.evaluate.mutual_risks import check_single_checkpoint, load_model
from fairseq_kd.evaluate.mutual_scores import Measured, Measurement
from fairseq_kd.evaluate.options import SamplePlan, ScoreOptions
from fairseq_kd.evaluate.result_file import make_place
from fairseq_kd.networks.data_languages import data_languages
from fairseq_kd.report.result_files import signatures
from fairseq_kd.storage.files import file_hash, write_json
from fairseq_kd.storage.provenance import commit, machine, versions

logger = logging.getLogger(__name__)

GREEDY, BEAM = 1, 5


def diagnose(
    teacher: str | Path,
    data: str | Path,
    *,
    student: str | Path | None = None,
    subset: str = "test",
    languages: Languages = UNNAMED,
    reference: str | Path | None = None,
    post_process: str = "sentencepiece",
    lengths: DecodingOptions = DecodingOptions(),  # noqa: B008
    seed: int = 1,
    studies: Sequence[str | Path] | None = None,
    wish: SpeedWish | None = None,
    shapes: Sequence[str | Path] = (),
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Measure the quantities of a teacher's task, and find the method that studies of similar tasks recommend.

    Args:
        teacher: its checkpoint.
        data: folder made by fairseq-preprocess, with the teacher's dictionaries.
        student: a checkpoint, or a text file (``-``: standard input) with fairseq-train's architecture options; only
            its size counts. None leaves the size ratio out.
        subset: the split.
        languages: source and target, as :func:`fairseq_kd.data.databins.files.choose_pair` takes them.
        reference: file of detokenised text, a line for each row; None for the data-bin's target side.
        post_process: how subwords are joined, one of :data:`fairseq_kd.data.text.subwords.POST_PROCESSES`.
        lengths: output lengths and batch size; the ``beam`` and ``nbest`` in it are ignored.
        seed: of the samples for TeacherDist.
        studies: JSON files of `fairseq-kd study`; None for no recommendation.
        wish: a speed that the student should have; None for no advice on its shape.
        shapes: JSON files of `fairseq-kd table` with the speeds of students of several shapes.
        output: JSON file to write the result to, whole or not at all; None to write none.

    Returns:
        The content of the JSON file. "quantities" are what tasks are compared by, "measured" has all figures, and
        "advice", with ``studies``, is what :func:`advise` gives; "shape", with ``wish``, is what
        :func:`advise_shape` gives.

    Raises:
        UserError: an option is out of range, a checkpoint, the student, the data-bin, the reference or a study cannot
            be used, the teacher's scores are not finite, or ``output`` is a folder.
    """
    check_seed(seed)
    check_single_checkpoint(teacher, "teacher")
    make_place(output)
    read = None if studies is None else read_studies(studies)
    tables = read_tables(shapes) if wish else []
    pair = data_languages(data, teacher, languages, "teacher")
    task = open_databin(data, subset, pair)
    check_models([str(teacher)], task, "teacher")
    size = None if student is None else student_parameters(str(student), task)
    scored = evaluate(
        teacher,
        data,
        subset=subset,
        languages=pair,
        beams=(GREEDY, BEAM),
        lengths=lengths,
        scoring=ScoreOptions(reference=reference, post_process=post_process),
    )
    plan = replace(SamplePlan(), seed=seed, max_tokens=lengths.max_tokens)
    drawn = _draw(teacher, task, subset, plan)
    measured = {**_figures(scored, size), "teacher_dist": float(drawn.figures["teacher_dist"].mean())}
    if not all(np.isfinite(value) for value in measured.values() if value is not None):
        raise UserError(f"--teacher {teacher}: the model produced NaN or infinite scores; check its weights")
    diagnosis: dict[str, Any] = {
        "teacher": str(teacher),
        "student": None if student is None else str(student),
        "data": str(data),
        "subset": subset,
        "sentences": len(scored["references"]),
        "quantities": {name: measured[name] for name in QUANTITIES},
        "measured": measured,
        "signature": _signature(scored, student, plan, drawn),
    }
    if read is not None:
        diagnosis["advice"] = advise(read, diagnosis["quantities"])
        diagnosis["signature"]["studies"] = [study["sha256"] for study in read]
    if wish is not None:
        diagnosis["shape"] = advise_shape(tables, wish, scored["parameters"])
    if output is not None:
        write_json(output, diagnosis)
    return diagnosis


def _draw(teacher: str | Path, task: TranslationTask, subset: str, plan: SamplePlan) -> Measured:
    """TeacherDist of each source."""
    measurement = Measurement(task, subset, load_model(teacher, task, "teacher"), None, plan)
    total = plan.samples * len(measurement.lengths)
    with tqdm(total=total, desc="TeacherDist", unit="sample", disable=None) as bar:
        drawn = measurement.run(bar.update)
    if drawn.cut["teacher"]:
        logger.warning("%d of %d samples were cut at %d tokens", drawn.cut["teacher"], total, drawn.longest)
    return drawn


def _signature(scored: dict[str, Any], student: str | Path | None, plan: SamplePlan, drawn: Measured) -> dict[str, Any]:
    """What made the diagnosis."""
    cut = drawn.cut["teacher"]
    return {
        "teacher": scored["models"][0]["sha256"],
        "student": file_hash(student) if student and Path(student).is_file() else None,
        "data": source_hashes(scored["data"], scored["subset"], *scored["languages"]),
        "samples": {"each": plan.samples, "seed": plan.seed, "longest": drawn.longest, "cut": cut},
        "scores": {"bleu": signatures(scored)["bleu"]},
        **{key: scored[key] for key in ("engine", "precision", "decoding", "post_process", "skipped")},
        **{"versions": versions(), "machine": machine(), "commit": commit()},
    }


def _figures(teacher: dict[str, Any], student: int | None) -> dict[str, float | None]:
    """The figures of a task.

    Args:
        teacher: what :func:`evaluate` returned of the teacher.
        student: the student's number of parameters; None if not known.
    """
    greedy, beam = (teacher["beams"][str(size)] for size in (GREEDY, BEAM))
    forced = teacher["teacher_forced"] or {"accuracy": None, "entropy": None}
    lengths, accuracy, bleu = teacher["source_lengths"], forced["accuracy"], greedy["bleu"]["score"]
    quartiles = np.percentile(lengths, (25, 50, 75)).tolist()
    return {
        "parameters": teacher["parameters"],
        "student_parameters": student,
        "size_ratio": None if student is None else student / teacher["parameters"],
        "token_entropy": forced["entropy"],
        "accuracy": accuracy,
        "bleu_greedy": bleu,
        "bleu_beam": beam["bleu"]["score"],
        "gap": None if accuracy is None else accuracy - bleu,
        "mode_mass_greedy": greedy["mode_mass"],
        "mode_mass": beam["mode_mass"],
        "source_length": float(np.mean(lengths)),
        **dict(zip(("source_length_q1", "source_length_median", "source_length_q3"), quartiles, strict=True)),
    }
