"""`fairseq-kd table`: put what `fairseq-kd evaluate` wrote side by side, as Markdown, JSON and a picture."""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scores import BOOTSTRAP_SAMPLES, bootstrap_seed, confidence_interval, p_value
from fairseq_kd.report.cost_table import check_costs, summarise_costs
from fairseq_kd.report.gate_plot import read_courses, write_gates
from fairseq_kd.report.markdown import markdown
from fairseq_kd.report.plots import write_plot, write_risks_plot
from fairseq_kd.report.pruning_plot import pruned_rows, without_pruned, write_pruning
from fairseq_kd.report.result_files import (
    EVALUATED,
    METRICS,
    OPTIONAL_RATE,
    RATES,
    RISKS,
    Row,
    Run,
    add_risks,
    group_runs,
    measured_with,
    read_risks,
    signatures,
)
from fairseq_kd.report.speed_plot import write_speed
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.provenance import commit, machine, versions


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (None for a single value) and the values."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": deviation, "values": list(values)}


def pairs(row: Row, baseline: Row) -> list[tuple[Run, Run]]:
    """The runs to compare: those of equal seeds, or each with each where one side has a single run.

    Raises:
        UserError: both have several runs, and the baseline lacks one of the row's seeds.
    """
    if len(row.runs) == 1 or len(baseline.runs) == 1:
        return [(run, other) for run in row.runs for other in baseline.runs]
    seeds = {other["seed"]: other for other in baseline.runs}
    for run in row.runs:
        if run["seed"] not in seeds:
            raise UserError(
                f"{row.name!r} has seed {run['seed']}, the baseline {baseline.name!r} has not; evaluate that"
            )
    return [(run, seeds[run["seed"]]) for run in row.runs]


def summarise(row: Row, baseline: Row | None) -> dict[str, Any]:
    """A row's figures over its runs, without any of its text: scores, rates, "delta" and "p" against the baseline."""
    compared = pairs(row, baseline) if baseline and row is not baseline else []
    beams = {}
    for beam in row.runs[0]["beams"]:
        results = [run["beams"][beam] for run in row.runs]
        figures: dict[str, Any] = {
            metric: spread([result[metric]["score"] for result in results]) for metric in METRICS
        }
        figures |= {rate: statistics.fmean(result[rate] for result in results) for rate in RATES}
        if all(OPTIONAL_RATE in result for result in results):
            figures[OPTIONAL_RATE] = statistics.fmean(result[OPTIONAL_RATE] for result in results)
        references = row.runs[0]["references"]
        intervals = [confidence_interval(result["hypotheses"], references) for result in results]
        figures["bleu"]["interval"] = statistics.fmean(intervals)
        if compared:
            both = [(run["beams"][beam], other["beams"][beam]) for run, other in compared]
            deltas = [result["bleu"]["score"] - other["bleu"]["score"] for result, other in both]
            p_values = [p_value(result["hypotheses"], other["hypotheses"], references) for result, other in both]
            figures |= {"delta": statistics.fmean(deltas), "p": max(p_values), "p_values": p_values}
        beams[beam] = figures
    summary = {
        "name": row.name,
        "parameters": row.runs[0]["parameters"],
        "seeds": [run["seed"] for run in row.runs],
        "beams": beams,
        **summarise_costs(row.runs),
    }
    return {**summary, "risks": summarise_risks(row.risks)} if row.risks else summary


def summarise_risks(found: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Each of the risks over a row's runs, with the mean of the ends of their intervals."""
    figures = {name: [one["risks"][name] for one in found] for name in RISKS}
    return {
        name: {
            **spread([figure["mean"] for figure in each]),
            "interval": [statistics.fmean(ends) for ends in zip(*(figure["interval"] for figure in each), strict=True)],
        }
        for name, each in figures.items()
    }


def distinct(values: Sequence[Any]) -> list[Any]:
    """The different ones of ``values``, in their order."""
    return [value for number, value in enumerate(values) if value not in values[:number]]


def build_table(rows: Sequence[Row], options: argparse.Namespace) -> dict[str, Any]:
    """The content of table.json.

    Raises:
        UserError: no row is named as --baseline, --teacher or --pruning says, a --config that cannot be read, or as
            :func:`check_costs`.
    """
    names = {row.name: row for row in rows}
    named = [("--baseline", options.baseline), ("--teacher", options.teacher)]
    for option, name in [*named, *(("--pruning", name) for name in options.pruning)]:
        if name is not None and name not in names:
            raise UserError(f"{option} {name!r}: no such row; the rows are: {', '.join(names)}")
    if options.config and not Path(options.config).is_file():
        raise UserError(f"--config {options.config}: no such file")
    baseline = names.get(options.baseline)
    runs = [run for row in rows for run in row.runs]
    check_costs(runs)
    return {
        "title": options.title,
        "baseline": options.baseline,
        "teacher": options.teacher,
        "pruning": options.pruning,
        "sentences": len(runs[0]["references"]),
        "rows": [summarise(row, baseline) for row in tqdm(rows, desc="bootstrap", disable=None)],
        "signature": {
            "versions": versions(),
            "machine": machine(),
            "commit": commit(),
            # the name alone: where it lay says nothing elsewhere
            "config": options.config and {"name": Path(options.config).name, "sha256": file_hash(options.config)},
            "scores": signatures(runs[0]),
            "bootstrap": {"test": "paired bootstrap", "samples": BOOTSTRAP_SAMPLES, "seed": bootstrap_seed()},
            "risks": next(
                ({**measured_with(one), "bootstrap": one["bootstrap"]} for row in rows for one in row.risks), None
            ),
            "evaluated": {key: distinct([run[key] for run in runs]) for key in EVALUATED},
            "models": {
                row.name: [
                    {"seed": run["seed"], "sha256": [model["sha256"] for model in run["models"]]} for run in row.runs
                ]
                for row in rows
            },
        },
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fairseq-kd table`."""
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="JSON of fairseq-kd evaluate; their order is the rows'"
    )
    parser.add_argument(
        "--risks",
        nargs="+",
        default=[],
        metavar="FILE",
        help="JSON of fairseq-kd risks, in any order; rows get them by their checkpoints",
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder for table.md, .json, .png, speed.png (and others)"
    )
    parser.add_argument("--baseline", metavar="NAME", help="row that the others are compared with")
    parser.add_argument("--teacher", metavar="NAME", help="row drawn as a dashed line in the picture")
    parser.add_argument("--title", default="Scores", help="heading (default: %(default)s)")
    parser.add_argument("--config", metavar="FILE", help="experiment's YAML; its name and SHA-256 are recorded")
    parser.add_argument(
        "--gate-log", nargs="+", default=[], metavar="NAME=FILE",
        help="fairseq-train's logs of hybrid_kd; draws gate.png, g over the updates",
    )  # fmt: skip
    parser.add_argument(
        "--pruning", nargs="+", default=[], metavar="NAME",
        help="rows of one model pruned ever further; pruning.png draws them, BLEU over the share of zeros, the other "
        "pictures the densest alone",
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Write the files, each whole or not at all, and print the Markdown.

    Raises:
        UserError: as :func:`group_runs`, :func:`read_risks`, :func:`add_risks`, :func:`build_table`,
            :func:`read_courses` and :func:`pruned_rows`, or an --output that is a file.
    """
    folder = Path(options.output)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder}: is a file; give a folder")
    courses = read_courses(options.gate_log)
    rows = group_runs(options.files)
    add_risks(rows, read_risks(options.risks, len(rows[0].runs[0]["references"])))
    table = build_table(rows, options)
    text, pruned = markdown(table), pruned_rows(table)
    drawn = without_pruned(table)
    write_plot(drawn, folder / "table.png")
    write_speed(drawn, folder / "speed.png")
    if options.risks:
        write_risks_plot(table, folder / "risks.png")
    if courses:
        write_gates(courses, folder / "gate.png")
    if pruned:
        write_pruning(table, folder / "pruning.png")
    with whole_file(folder / "table.md") as handle:
        handle.write(text)
    write_json(folder / "table.json", table)
    print(text, end="")
