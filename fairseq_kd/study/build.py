"""Make a study: how the scores of several kinds of students change along an axis, and where their lines cross.

Each point of the axis has results of `fairseq-kd evaluate` for the same lines, with one or more seeds each. Two more
axes need no students of their own: the source's length, in buckets of each point's test set, and the decoding
procedure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scoring.scores import BOOTSTRAP_SAMPLES, bootstrap_seed
from fairseq_kd.report.result_files import EVALUATED, distinct, signatures
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.provenance import commit, versions
from fairseq_kd.study.axis import Axis
from fairseq_kd.study.curves import by_length, measure_point, measures_of, series
from fairseq_kd.study.markdown import markdown
from fairseq_kd.study.plots import write_axis, write_decoding, write_lengths
from fairseq_kd.study.points import Point, add_diagnoses, read_methods, read_points
from fairseq_kd.study.resampling import Curve, Resampler


def study(
    files: Mapping[float, Sequence[str | Path]],
    axis: Axis,
    output: str | Path,
    *,
    teacher: str | None = None,
    title: str = "Study",
    config: str | Path | None = None,
    diagnoses: Mapping[float, str | Path] | None = None,
) -> dict[str, Any]:
    """Make a study of results, each file of it whole or not at all.

    Args:
        files: JSON files of `fairseq-kd evaluate`, by their place on the axis. Every place has the same rows.
        axis: what the places are.
        output: folder for study.md, study.json, study.png, length.png and decoding.png.
        teacher: name of the row that pictures draw as a dashed line and that is compared with no other.
        title: heading.
        config: the experiment's YAML; its name, its SHA-256 and its rows' options are recorded.
        diagnoses: JSON files of `fairseq-kd diagnose`, one for each place; advice needs them to use the study.

    Returns:
        The content of study.json. "over_axis" and "over_lengths" hold scores with intervals, differences and crossings.

    Raises:
        UserError: a file cannot be used, files do not fit together, there is no row ``teacher``, a logarithmic axis has
            a place that is not above 0, or ``output`` is a file.
    """
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder}: is a file; give a folder")
    points = read_points(files)
    add_diagnoses(points, diagnoses or {}, teacher)
    names = [row.name for row in points[0].rows]
    if teacher is not None and teacher not in names:
        raise UserError(f"--teacher {teacher!r}: no such row; the rows are: {', '.join(names)}")
    if axis.scale == "log" and points[0].at <= 0:
        raise UserError(f"--scale log: {points[0].at:g} has no logarithm; give places above 0")
    made = {
        "title": title,
        "axis": asdict(axis),
        "teacher": teacher,
        "methods": read_methods(config, names),
        **_measure(points, axis, teacher),
        "signature": _signature(points, config),
    }
    text = markdown(made)
    write_axis(made, folder / "study.png")
    write_lengths(made, folder / "length.png")
    write_decoding(made, folder / "decoding.png")
    with whole_file(folder / "study.md") as handle:
        handle.write(text)
    write_json(folder / "study.json", made)
    return made


def _measure(points: Sequence[Point], axis: Axis, teacher: str | None) -> dict[str, Any]:
    """The points' scores over the axis and over source lengths."""
    names = [row.name for row in points[0].rows]
    measures, resampler = measures_of(points), Resampler()
    measured = [
        measure_point(point, names, list(measures), resampler) for point in tqdm(points, desc="bootstrap", disable=None)
    ]
    joined = {
        measure: {name: Curve.join([one[measure][name].part(slice(0, 1)) for one in measured]) for name in names}
        for measure in measures
    }
    return {
        "measures": measures,
        "points": [_summarise(point) for point in points],
        "over_axis": series([point.at for point in points], joined, teacher, axis.scale == "log"),
        "over_lengths": [by_length(point, one, teacher) for point, one in zip(points, measured, strict=True)],
    }


def _summarise(point: Point) -> dict[str, Any]:
    """What a point's scores were measured on, the models, and the quantities of the point's task."""
    return {
        "at": point.at,
        "sentences": len(point.first["references"]),
        "parameters": {row.name: row.results[0]["parameters"] for row in point.rows},
        "seeds": {row.name: [result["seed"] for result in row.results] for row in point.rows},
        "models": {
            row.name: [[model["sha256"] for model in result["models"]] for result in row.results] for row in point.rows
        },
        "diagnosis": point.diagnosis,
    }  # fmt: skip


def _signature(points: Sequence[Point], config: str | Path | None) -> dict[str, Any]:
    """What made the study and the results in it."""
    results = [result for point in points for result in point.results]
    return {
        "versions": versions(),
        "commit": commit(),
        "config": config and {"name": Path(config).name, "sha256": file_hash(config)},
        "scores": {"bleu": signatures(results[0])["bleu"]},
        "bootstrap": {
            "of": "sentences and seeds",
            "enlarged": True,  # studies of earlier versions lack it: their seeds' deviations were not enlarged
            "beyond": True,  # studies of earlier versions lack it: crossings beyond the axis did not count
            "samples": BOOTSTRAP_SAMPLES,
            "seed": bootstrap_seed(),
        },
        "evaluated": {key: distinct([result[key] for result in results]) for key in EVALUATED},
    }
