"""The trainings behind a table's rows: read from their logs, checked, and shown as Markdown."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.report.row_summary import spread
from fairseq_kd.report.table_line import spread_cell, table_head, table_line
from fairseq_kd.report.training_log import read_training_log

Training = dict[str, Any]


def read_trainings(logs: Mapping[str, Sequence[str | Path]], rows: Sequence[str]) -> dict[str, list[Training]]:
    """The trainings of each row, as :func:`read_training_log` gives them.

    Args:
        logs: fairseq-train's logs by the name of their row, one for each seed.
        rows: the names of the table's rows.

    Raises:
        UserError: a log cannot be used, a name is not that of a row, or two logs of a row have the same seed.
    """
    trainings = {}
    for name, paths in logs.items():
        if name not in rows:
            raise UserError(f"--training-log {name!r}: no such row; the rows are: {', '.join(rows)}")
        trainings[name] = [read_training_log(path) for path in paths]
        seeds = [training["seed"] for training in trainings[name] if training["seed"] is not None]
        for seed in seeds:
            if seeds.count(seed) > 1:
                raise UserError(f"--training-log {name!r}: two logs have seed {seed}; give one for each seed")
    return trainings


def training_section(table: dict[str, Any]) -> list[str]:
    """The table of trainings, a line for each row that has logs; empty if none has."""
    rows = [row for row in table["rows"] if "training" in row]
    if not rows:
        return []
    gates = any("gate" in training for row in rows for training in row["training"])
    header = ["row", "updates", "target tokens (M)", "seconds", "validation BLEU"]
    header += ["final g ± spread"] if gates else []
    lines = table_head(header)
    for row in rows:
        cells = [row["name"], *_cells(row["training"])]
        lines.append(table_line([*cells, _gate(row["training"])] if gates else cells))
    notes = [
        "- Means over training seeds, of validation BLEU also the sample standard deviation. Seconds: in updates, "
        "without validation. Validation BLEU: of the checkpoint that is best on the validation set.",
        "- Target tokens are counted with `</s>` and once for each time that an update saw them.",
    ]
    if gates:
        notes[1] += " Those of a hybrid are gold and distilled; a log without `seen_wpb` has the gold ones alone."
        notes.append("- g ± spread: mean and standard deviation of the gate within the last interval of the log.")
    notes += [f"- {note}" for note in number_notes(rows)]
    return ["", "## Training", "", *lines, "", *notes]


def number_notes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence that names the rows that have not one log for each result; none where all have."""
    found = [(row["name"], len(row["training"]), len(row["seeds"])) for row in rows]
    other = [f"{name} ({logs} of {results})" for name, logs, results in found if logs != results]
    return [f"Rows with another number of logs than of results: {', '.join(other)}."] if other else []


def validation_bleu(trainings: Sequence[Training]) -> list[float]:
    """The validation BLEU of each training's best checkpoint; empty unless all have one: a mean is over all seeds."""
    bleu = [training["best"]["bleu"] for training in trainings if "bleu" in (training["best"] or {})]
    return bleu if len(bleu) == len(trainings) else []


def _mean(trainings: Sequence[Training], name: str) -> float:
    return statistics.fmean(training[name] for training in trainings)


def _cells(trainings: Sequence[Training]) -> list[str]:
    tokens = f"{_mean(trainings, 'target_tokens') / 1e6:.2f}"
    bleu = validation_bleu(trainings)
    score = spread_cell(spread(bleu), 2) if bleu else "–"
    return [f"{_mean(trainings, 'updates'):,.0f}", tokens, f"{_mean(trainings, 'seconds'):,.0f}", score]


def _gate(trainings: Sequence[Training]) -> str:
    gates = [training["gate"] for training in trainings if "gate" in training]
    return f"{_mean(gates, 'mean'):.3f} ± {_mean(gates, 'spread'):.3f}" if gates else "–"
