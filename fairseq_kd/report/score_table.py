"""Put what `fairseq-kd evaluate` wrote side by side, as Markdown, JSON and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scoring.scores import BOOTSTRAP_SAMPLES, bootstrap_seed
from fairseq_kd.report.comparison import Comparison, check_seeds
from fairseq_kd.report.cost_table import check_costs
from fairseq_kd.report.markdown import markdown
from fairseq_kd.report.paper_figures import beside_paper, read_paper
from fairseq_kd.report.pictures.gates import gated_rows, write_gates
from fairseq_kd.report.pictures.pruning import pruned_rows, without_pruned, write_pruning
from fairseq_kd.report.pictures.speed import write_speed
from fairseq_kd.report.pictures.table import write_plot, write_risks_plot
from fairseq_kd.report.result_files import (
    EVALUATED,
    Row,
    add_risks,
    distinct,
    group_results,
    measured_with,
    read_risks,
    signatures,
)
from fairseq_kd.report.row_summary import summarise_row
from fairseq_kd.report.training_table import read_trainings
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.provenance import commit, machine, versions


def table(
    files: Sequence[str | Path],
    output: str | Path,
    *,
    risks: Sequence[str | Path] = (),
    baseline: str | None = None,
    teacher: str | None = None,
    title: str = "Scores",
    config: str | Path | None = None,
    training_logs: Mapping[str, Sequence[str | Path]] | None = None,
    pruning: Sequence[str] = (),
) -> dict[str, Any]:
    """Make a table of results, each file of it whole or not at all.

    Args:
        files: JSON files of `fairseq-kd evaluate`. Results of one name are one row; rows keep the files' order.
        output: folder for table.md, table.json, table.png, speed.png, and risks.png, gate.png and pruning.png where
            the options below ask for them; where they do not, those of an earlier table are removed.
        risks: JSON files of `fairseq-kd risks`, in any order; a row is recognised by its checkpoints.
        baseline: name of the row that the others are compared with, by paired bootstrap.
        teacher: name of the row that pictures draw as a dashed line.
        title: heading.
        config: the experiment's YAML; its name and SHA-256 are recorded, and figures of a paper in it are shown.
        training_logs: fairseq-train's logs by the name of their row, one for each seed; gate.png draws their gates.
        pruning: names of rows that are one model, pruned step by step; pruning.png draws them.

    Returns:
        The content of table.json. It holds no text of translations and no paths.

    Raises:
        UserError: a file cannot be used, files do not fit together, there is no row of a given name, or ``output`` is
            a file.
    """
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder}: is a file; give a folder")
    made = build_table(
        files,
        risks=risks,
        baseline=baseline,
        teacher=teacher,
        title=title,
        config=config,
        training_logs=training_logs,
        pruning=pruning,
    )
    text, drawn = markdown(made), without_pruned(made)
    write_plot(drawn, folder / "table.png")
    write_speed(drawn, folder / "speed.png")
    pictures = {
        "risks.png": (risks, write_risks_plot),
        "gate.png": (gated_rows(made), write_gates),
        "pruning.png": (pruned_rows(made), write_pruning),
    }
    for name, (wanted, write) in pictures.items():
        if wanted:
            write(made, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)  # of an earlier table
    with whole_file(folder / "table.md") as handle:
        handle.write(text)
    write_json(folder / "table.json", made)
    return made


def build_table(
    files: Sequence[str | Path],
    *,
    risks: Sequence[str | Path] = (),
    baseline: str | None = None,
    teacher: str | None = None,
    title: str = "Scores",
    config: str | Path | None = None,
    training_logs: Mapping[str, Sequence[str | Path]] | None = None,
    pruning: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of table.json; the arguments and errors are those of :func:`table`, which also writes it."""
    rows = group_results(files)
    results = [result for row in rows for result in row.results]
    first = results[0]
    add_risks(rows, read_risks(risks, len(first["references"]), distinct([result["subset"] for result in results])))
    _check_names(rows, baseline, teacher, pruning)
    paper = read_paper(config, teacher) if config else {}
    trainings = read_trainings(training_logs or {}, [row.name for row in rows])
    check_costs(results)
    compared = next((row for row in rows if row.name == baseline), None)
    if compared:
        check_seeds(rows, compared)
    comparison = Comparison(first["references"], first["tokenize"], first["more_references"], first["lowercase"])
    summaries = [summarise_row(row, compared, comparison) for row in tqdm(rows, desc="bootstrap", disable=None)]
    for summary in summaries:
        summary |= {"training": trainings[summary["name"]]} if summary["name"] in trainings else {}
    return {
        "title": title,
        "baseline": baseline,
        "teacher": teacher,
        "pruning": list(pruning),
        "sentences": len(first["references"]),
        "rows": summaries,
        "pairs": comparison.all_pairs(rows),
        "paper": beside_paper(summaries, paper),
        "signature": _signature(rows, config),
    }


def _check_names(rows: Sequence[Row], baseline: str | None, teacher: str | None, pruning: Sequence[str]) -> None:
    """Raise a UserError unless each name is that of a row."""
    names = [row.name for row in rows]
    named = [("--baseline", baseline), ("--teacher", teacher), *(("--pruning", name) for name in pruning)]
    for option, name in named:
        if name is not None and name not in names:
            raise UserError(f"{option} {name!r}: no such row; the rows are: {', '.join(names)}")


def _signature(rows: Sequence[Row], config: str | Path | None) -> dict[str, Any]:
    """What made the table and the results in it."""
    results = [result for row in rows for result in row.results]
    return {
        "versions": versions(),
        "machine": machine(),
        "commit": commit(),
        # The name alone: the path says nothing on another machine.
        "config": config and {"name": Path(config).name, "sha256": file_hash(config)},
        "scores": signatures(results[0]),
        "bootstrap": {"test": "paired bootstrap", "samples": BOOTSTRAP_SAMPLES, "seed": bootstrap_seed()},
        "risks": next(
            ({**measured_with(one), "bootstrap": one["bootstrap"]} for row in rows for one in row.risks), None
        ),
        "evaluated": {key: distinct([result[key] for result in results]) for key in EVALUATED},
        "models": {
            row.name: [
                {"seed": result["seed"], "sha256": [model["sha256"] for model in result["models"]]}
                for result in row.results
            ]
            for row in rows
        },
    }
