"""`fairseq-kd study`: how scores of several kinds of students change along an axis, and where their lines cross.

Each point of the axis has the results of `fairseq-kd evaluate` of the same lines, one or more seeds each. Two more axes
need no students of their own: the source's length, in buckets of each point's test set, and the decoding procedure.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scores import BOOTSTRAP_SAMPLES, bootstrap_seed
from fairseq_kd.report.result_files import EVALUATED, Run, signatures
from fairseq_kd.report.table import distinct
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.provenance import commit, versions
from fairseq_kd.study.markdown import markdown
from fairseq_kd.study.plots import write_axis, write_decoding, write_lengths
from fairseq_kd.study.points import Point, add_diagnoses, read_methods, read_points
from fairseq_kd.study.resampling import (
    Curve,
    Resampler,
    Score,
    accuracy,
    bleu,
    bleu_statistics,
    compare,
    interval,
)

SCALES = ("linear", "log")
BUCKETS = 4
Curves = dict[str, dict[str, Curve]]
"""A line's curve by measure and name."""


def measures_of(points: Sequence[Point]) -> dict[str, str]:
    """The names of what all runs have, by their keys, from the easiest decoding procedure to the widest beam."""
    forced = all(run["teacher_forced"] for point in points for run in point.runs)
    measures = {"teacher_forced": "teacher-forced accuracy (%)"} if forced else {}
    for beam in points[0].first["beams"]:
        measures[f"beam {beam}"] = "BLEU, greedy" if beam == "1" else f"BLEU, beam {beam}"
    return measures


def statistics(run: Run, measure: str) -> tuple[np.ndarray, Score]:
    """What each sentence adds to a measure, shape (sentences, figures), and the score of the sums."""
    if measure == "teacher_forced":
        return np.array([run["teacher_forced"][key] for key in ("correct", "tokens")]).T, accuracy
    return bleu_statistics(run["beams"][measure.removeprefix("beam ")]["hypotheses"], run["references"]), bleu


def length_buckets(lengths: Sequence[int]) -> list[np.ndarray]:
    """The rows in up to ``BUCKETS`` buckets of about as many, by their lengths; one length is in one bucket."""
    sizes = np.asarray(lengths)
    ends = np.unique(np.quantile(sizes, np.arange(1, BUCKETS + 1) / BUCKETS, method="higher"))
    found = np.searchsorted(ends, sizes)
    return [np.flatnonzero(found == number) for number in range(len(ends))]


def measure_point(point: Point, names: Sequence[str], measures: Sequence[str], resampler: Resampler) -> Curves:
    """A point's lines over its whole test set, the first place, and then over the buckets by length."""
    lengths = point.first["source_lengths"]
    subsets = [np.arange(len(lengths)), *length_buckets(lengths)]
    rows = {row.name: row for row in point.rows}
    curves: Curves = {measure: {} for measure in measures}
    for measure in measures:
        for name in names:
            figures, scores = zip(*(statistics(run, measure) for run in rows[name].runs), strict=True)
            curves[measure][name] = resampler.measure(figures, scores[0], subsets)
    return curves


def series(places: Sequence[float], curves: Curves, teacher: str | None, logarithmic: bool = False) -> dict[str, Any]:
    """Scores at the places of one axis, and of each two lines, the teacher's apart, differences and crossings."""
    scores, comparisons = {}, {}
    for measure, lines in curves.items():
        scores[measure] = {
            name: [
                {"mean": float(mean), "interval": interval(draws), "values": values}
                for mean, draws, values in zip(curve.mean, curve.draws.T, curve.values, strict=True)
            ]
            for name, curve in lines.items()
        }
        comparisons[measure] = [
            {"line": line, "other": other, **compare(places, lines[line], lines[other], logarithmic)}
            for other, line in combinations([name for name in lines if name != teacher], 2)
        ]
    return {"places": list(places), "scores": scores, "comparisons": comparisons}


def by_length(point: Point, measured: Curves, teacher: str | None) -> dict[str, Any]:
    """The axis of a point's source lengths, each bucket at its mean."""
    lengths = point.first["source_lengths"]
    own = [np.asarray(lengths)[rows] for rows in length_buckets(lengths)]
    buckets = [{"shortest": int(one.min()), "longest": int(one.max()), "sentences": len(one)} for one in own]
    curves = {
        measure: {name: curve.part(slice(1, None)) for name, curve in lines.items()}
        for measure, lines in measured.items()
    }
    return {"at": point.at, "buckets": buckets, **series([float(one.mean()) for one in own], curves, teacher)}


def build_study(points: Sequence[Point], options: argparse.Namespace) -> dict[str, Any]:
    """The content of study.json.

    Raises:
        UserError: no row is named as --teacher says, --scale log of a place that is not above 0, or as
            :func:`read_methods`.
    """
    names = [row.name for row in points[0].rows]
    if options.teacher is not None and options.teacher not in names:
        raise UserError(f"--teacher {options.teacher!r}: no such row; the rows are: {', '.join(names)}")
    if options.scale == "log" and points[0].at <= 0:
        raise UserError(f"--scale log: there is no logarithm of {points[0].at:g}")
    methods = read_methods(options.config, names)
    measures, resampler = measures_of(points), Resampler()
    measured = [
        measure_point(point, names, list(measures), resampler) for point in tqdm(points, desc="bootstrap", disable=None)
    ]
    joined = {
        measure: {name: Curve.join([one[measure][name].part(slice(0, 1)) for one in measured]) for name in names}
        for measure in measures
    }
    return {
        "title": options.title,
        "axis": {"label": options.axis, "scale": options.scale},
        "teacher": options.teacher,
        "methods": methods,
        "measures": measures,
        "points": [summarise(point) for point in points],
        "over_axis": series([point.at for point in points], joined, options.teacher, options.scale == "log"),
        "over_lengths": [by_length(point, one, options.teacher) for point, one in zip(points, measured, strict=True)],
        "signature": signature(points, options),
    }


def summarise(point: Point) -> dict[str, Any]:
    """What a point's results were measured on and of, and the quantities of its task."""
    return {
        "at": point.at,
        "sentences": len(point.first["references"]),
        "parameters": {row.name: row.runs[0]["parameters"] for row in point.rows},
        "seeds": {row.name: [run["seed"] for run in row.runs] for row in point.rows},
        "models": {
            row.name: [[model["sha256"] for model in run["models"]] for run in row.runs] for row in point.rows
        },
        "diagnosis": point.diagnosis,
    }  # fmt: skip


def signature(points: Sequence[Point], options: argparse.Namespace) -> dict[str, Any]:
    """What made the study."""
    runs = [run for point in points for run in point.runs]
    return {
        "versions": versions(),
        "commit": commit(),
        "config": options.config and {"name": Path(options.config).name, "sha256": file_hash(options.config)},
        "scores": {"bleu": signatures(runs[0])["bleu"]},
        "bootstrap": {"of": "sentences and seeds", "samples": BOOTSTRAP_SAMPLES, "seed": bootstrap_seed()},
        "evaluated": {key: distinct([run[key] for run in runs]) for key in EVALUATED},
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fairseq-kd study`."""
    add = parser.add_argument
    add("files", nargs="+", metavar="AT=FILE", help="a place of the axis and a JSON of fairseq-kd evaluate from there")
    add("--axis", required=True, metavar="LABEL", help="what AT is, for the pictures")
    add("--scale", default="linear", choices=SCALES, help="of the axis, in pictures and between places (%(default)s)")
    add("--output", required=True, metavar="DIR", type=Path,
        help="folder for study.md, study.json, study.png, length.png and decoding.png")  # fmt: skip
    add("--teacher", metavar="NAME", help="row drawn as a dashed line and compared with none")
    add("--title", default="Study", help="heading (default: %(default)s)")
    add("--config", metavar="FILE", help="experiment's YAML; its name, SHA-256 and the rows' options are recorded")
    add("--diagnosis", nargs="+", default=[], metavar="AT=FILE",
        help="a place and a JSON of fairseq-kd diagnose from there, by which advice finds it")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Write the files, each whole or not at all, and print the Markdown.

    Raises:
        UserError: as :func:`read_points`, :func:`add_diagnoses` and :func:`build_study`, or an --output that is a file.
    """
    folder = options.output
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder}: is a file; give a folder")
    points = read_points(options.files)
    add_diagnoses(points, options.diagnosis, options.teacher)
    study = build_study(points, options)
    text = markdown(study)
    write_axis(study, folder / "study.png")
    write_lengths(study, folder / "length.png")
    write_decoding(study, folder / "decoding.png")
    with whole_file(folder / "study.md") as handle:
        handle.write(text)
    write_json(folder / "study.json", study)
    print(text, end="")
