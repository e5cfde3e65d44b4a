"""`fairseq-kd diagnose`: what a teacher's task is like, and which way of distilling the studies speak for there."""

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.tasks.translation import TranslationTask
from tqdm import tqdm

import fairseq_kd
from fairseq_kd.data.databin import open_databin, source_hashes
from fairseq_kd.data.subwords import POST_PROCESSES
from fairseq_kd.decoding.choice import check_models
from fairseq_kd.decoding.options import DecodingOptions, Sampling
from fairseq_kd.decoding.sampler import check_seed
from fairseq_kd.diagnose.advice import advise, read_studies
from fairseq_kd.diagnose.markdown import markdown
from fairseq_kd.diagnose.quantities import QUANTITIES
from fairseq_kd.diagnose.student_size import student_parameters
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate import evaluation as evaluate
from fairseq_kd.evaluate.mutual_scores import Measured, Measurement, SamplePlan
from fairseq_kd.evaluate.risks import load_model
from fairseq_kd.networks.checkpoints import check_checkpoint
from fairseq_kd.report.result_files import signatures
from fairseq_kd.storage.files import file_hash, split_paths, write_json
from fairseq_kd.storage.provenance import commit, machine, versions

logger = logging.getLogger(__name__)

GREEDY, BEAM = "1", "5"
SAMPLES = 5
"""Of each input, as in Wen et al. 2023."""
LONGEST = 200
"""Where a sample is cut, in tokens."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fairseq-kd diagnose`."""
    add, defaults = parser.add_argument, DecodingOptions()
    add("--teacher", required=True, metavar="CKPT", help="the teacher")
    add("--data", required=True, metavar="DATABIN", help="fairseq-preprocess's output, with the teacher's dictionaries")
    add("--student", metavar="FILE", help="text file (-: standard input) of fairseq-train's architecture options, or a "
        "checkpoint; only its size counts")  # fmt: skip
    add("--subset", default="test", help="split of the data-bin (default: %(default)s)")
    add("--reference", metavar="FILE", help="detokenised text (default: the data-bin's target side)")
    add("--post-process", choices=POST_PROCESSES, default="sentencepiece", help="how subwords are joined (%(default)s)")
    add("--max-len-a", type=float, default=defaults.max_len_a, help="output ≤ a × source length + b (%(default)s)")
    add("--max-len-b", type=int, default=defaults.max_len_b, help="see --max-len-a (%(default)s)")
    add("--max-tokens", type=int, default=defaults.max_tokens, help="source tokens in a batch (%(default)s)")
    add("--seed", type=int, default=1, help="of the samples for TeacherDist (%(default)s)")
    add("--study", nargs="*", metavar="FILE.json", help="study.json of fairseq-kd study; none after it: measure alone "
        "(default: results/study_*/study.json of the clone)")  # fmt: skip
    add("--output", metavar="FILE.json", type=Path, help="where all of it goes too")


def run(options: argparse.Namespace) -> None:
    """Measure, print Markdown, and write the file, whole or not at all.

    Raises:
        UserError: an option is out of range, or a checkpoint, the student, the data-bin, the reference, a study or the
            output is at fault.
    """
    check_seed(options.seed)
    if split_paths(options.teacher) != [options.teacher]:
        raise UserError(f"--teacher {options.teacher!r}: give one checkpoint; samples are drawn from single models")
    check_checkpoint(options.teacher, "teacher")
    if options.output and options.output.is_dir():
        raise UserError(f"--output {options.output}: is a folder; give a file name")
    paths = _published() if options.study is None else options.study
    studies = read_studies(paths)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    diagnosis = diagnose(options)
    if options.study != []:
        diagnosis["advice"] = advise(studies, diagnosis["quantities"])
        diagnosis["signature"]["studies"] = [study["sha256"] for study in studies]
    if options.output:
        write_json(options.output, diagnosis)
    print(markdown(diagnosis), end="")


def _published() -> list[str]:
    """The studies of the clone in which the package lies."""
    return sorted(map(str, Path(fairseq_kd.__file__).parent.parent.glob("results/study_*/study.json")))


def diagnose(options: argparse.Namespace) -> dict[str, Any]:
    """The content of the JSON file for the options, without advice.

    Raises:
        UserError: as :func:`run`.
    """
    task = open_databin(options.data, options.subset)
    check_models([options.teacher], task, "teacher")
    student = None if options.student is None else student_parameters(options.student, task)
    teacher = _evaluate(options)
    drawn = _draw(options, task)
    measured = {**_figures(teacher, student), "teacher_dist": float(drawn.figures["teacher_dist"].mean())}
    if not all(np.isfinite(value) for value in measured.values() if value is not None):
        raise UserError(f"--teacher {options.teacher}: an answer of it is no number")
    return {
        **{key: getattr(options, key) for key in ("teacher", "student", "data", "subset")},
        "sentences": len(teacher["references"]),
        "quantities": {name: measured[name] for name in QUANTITIES},
        "measured": measured,
        "signature": {
            "teacher": teacher["models"][0]["sha256"],
            "student": file_hash(options.student) if options.student and Path(options.student).is_file() else None,
            "data": source_hashes(options.data, options.subset, *teacher["languages"]),
            "samples": {"each": SAMPLES, "seed": options.seed, "longest": LONGEST, "cut": drawn.cut["teacher"]},
            "scores": {"bleu": signatures(teacher)["bleu"]},
            **{key: teacher[key] for key in ("engine", "precision", "decoding", "post_process", "skipped")},
            **{"versions": versions(), "machine": machine(), "commit": commit()},
        },
    }


def _evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """What `fairseq-kd evaluate` finds of the teacher, with the two beams."""
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    shared = ("data", "subset", "reference", "post_process", "max_len_a", "max_len_b", "max_tokens")
    given = {"model": options.teacher, "output": "", **{key: getattr(options, key) for key in shared}}
    words = [f"--{key.replace('_', '-')}={value}" for key, value in given.items() if value is not None]
    return evaluate.evaluate(parser.parse_args([*words, "--beam", GREEDY, BEAM]))


def _draw(options: argparse.Namespace, task: TranslationTask) -> Measured:
    sampling = Sampling(max_len_a=0.0, max_len_b=LONGEST)
    plan = SamplePlan(SAMPLES, sampling, options.seed, options.max_tokens)
    measurement = Measurement(task, options.subset, load_model(options.teacher, task, "teacher"), None, plan)
    total = SAMPLES * len(measurement.lengths)
    with tqdm(total=total, desc="TeacherDist", unit="sample", disable=None) as bar:
        drawn = measurement.run(bar.update)
    if drawn.cut["teacher"]:
        logger.warning("cut at %d tokens: %d of %d samples", LONGEST, drawn.cut["teacher"], total)
    return drawn


def _figures(teacher: dict[str, Any], student: int | None) -> dict[str, float | None]:
    """What there is to tell of a result of `fairseq-kd evaluate` and of a student with so many parameters."""
    greedy, beam = (teacher["beams"][width] for width in (GREEDY, BEAM))
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
