"""What models cost, in `fairseq-kd table`: mode mass, non-zero parameters, and a table of `evaluate --cost`."""

import statistics
from collections.abc import Sequence
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.report.named_teacher import other_teacher
from fairseq_kd.report.result_files import distinct
from fairseq_kd.report.table_line import table_head, table_line

FIGURES = ("sentences_per_second", "target_tokens_per_second", "memory")
Line = dict[str, Any]


def summarise_costs(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a row's models cost, means over its results.

    Returns:
        "nonzero_parameters"; "mode_mass" by beam; "cost", a line for each engine, precision, way of decoding and beam;
        "cost_of", the :func:`conditions` of these lines. A figure that one of the results lacks is left out. "engines"
        are the engines and precisions that made the scores.
    """
    found: dict[str, Any] = {"engines": distinct([[result["engine"], result["precision"]] for result in results])}
    if all("nonzero_parameters" in result for result in results):
        found["nonzero_parameters"] = statistics.fmean(result["nonzero_parameters"] for result in results)
    masses = {beam: [result["beams"][beam].get("mode_mass") for result in results] for beam in results[0]["beams"]}
    if not any(None in values for values in masses.values()):
        found["mode_mass"] = {beam: statistics.fmean(values) for beam, values in masses.items()}
    if all("cost" in result for result in results):
        found["cost"] = [_mean(lines) for lines in _alike([result["cost"]["measured"] for result in results])]
        found["cost_of"] = conditions(results[0]["cost"])
    return found


def conditions(cost: dict[str, Any]) -> dict[str, Any]:
    """The conditions that two costs must share to be comparable."""
    teacher = cost["teacher"]
    hashes = teacher and [model["sha256"] for model in teacher["models"]]
    return {"sentences": cost["sentences"], "teacher": hashes, "teacher_beam": teacher and teacher["beam"]}


def check_costs(results: Sequence[dict[str, Any]]) -> None:
    """Compare the conditions under which costs were measured.

    Raises:
        UserError: two results were measured on other sentences, or beside another teacher or another beam of it.
    """
    measured = [(result["name"], conditions(result["cost"])) for result in results if "cost" in result]
    for name, one in measured:
        first, expected = measured[0]
        for key in (key for key in one if one[key] != expected[key]):
            raise UserError(
                f"{name!r}: its cost was measured with other {key.replace('_', ' ')} than that of {first!r}; "
                "give evaluate the same --teacher, --beam and --cost-rows for both"
            )


def _setting(line: Line) -> tuple[Any, ...]:
    return line["engine"], line["precision"], line["batched"], line["beam"]


def _alike(results: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """The lines that all results have in common, each with its counterparts in the other results."""
    by_setting = [{_setting(line): line for line in lines} for lines in results]
    return [[lines[one] for lines in by_setting] for one in by_setting[0] if all(one in lines for lines in by_setting)]


def _mean(lines: Sequence[Line]) -> Line:
    figures = [name for name in (*FIGURES, "times_teacher") if all(name in line for line in lines)]
    same = {name: lines[0][name] for name in ("engine", "precision", "batched", "beam")}
    return {**same, **{name: statistics.fmean(line[name] for line in lines) for name in figures}}


def cost_header(table: dict[str, Any]) -> list[str]:
    """The headings of mode mass and non-zero parameters; a column that would be empty is left out."""
    header = ["non-zero (M)"] if _any(table, "nonzero_parameters") else []
    if _any(table, "mode_mass"):
        header += [f"p(t = ŷ), beam {beam}" for beam in table["rows"][0]["beams"]]
    return header


def cost_cells(row: dict[str, Any], table: dict[str, Any]) -> list[str]:
    """A row's cells below the headings of :func:`cost_header`."""
    cells = []
    if _any(table, "nonzero_parameters"):
        cells.append(_nonzero(row, table))
    if _any(table, "mode_mass"):
        cells += [f"{row['mode_mass'][beam]:.1%}" if "mode_mass" in row else "–" for beam in row["beams"]]
    return cells


def _nonzero(row: dict[str, Any], table: dict[str, Any]) -> str:
    """A row's non-zero parameters in millions, and how many times fewer they are than the teacher's."""
    if "nonzero_parameters" not in row:
        return "–"
    fewer = times_fewer(row, table)
    return f"{row['nonzero_parameters'] / 1e6:.2f}" + (f" ({fewer:.1f} × fewer)" if fewer else "")


def times_fewer(row: dict[str, Any], table: dict[str, Any]) -> float | None:
    """The teacher's non-zero parameters over a row's; None for the teacher itself, or if one count is not known."""
    counts = {one["name"]: one.get("nonzero_parameters") for one in table["rows"]}
    teacher, own = counts.get(table["teacher"]), counts[row["name"]]
    return teacher / own if teacher and own and row["name"] != table["teacher"] else None


def _any(table: dict[str, Any], name: str) -> bool:
    return any(name in row for row in table["rows"])


def cost_notes(table: dict[str, Any]) -> list[str]:
    """What the columns mean."""
    notes = []
    if _any(table, "mode_mass"):
        notes.append("p(t = ŷ): mean over sentences of a model's probability of its own translation (Kim & Rush 2016).")
    if _any(table, "nonzero_parameters"):
        fewer = "; × fewer: than the teacher's" if table["teacher"] else ""
        notes.append(f"non-zero: parameters that are not exactly zero, a tied matrix counted once{fewer}.")
    return notes


def cost_section(table: dict[str, Any]) -> list[str]:
    """The table of costs: a line for each row, engine, precision and beam. Empty if no costs were measured."""
    rows = [row for row in table["rows"] if "cost" in row]
    if not rows:
        return []
    made = rows[0]["cost_of"]
    header = ["row", "engine", "decoding", "beam", "sentences/s", "tokens/s", "memory (MiB)"]
    header += ["× teacher"] if made["teacher"] else []
    lines = ["## What decoding costs", "", *table_head(header, words=3)]
    for row in rows:
        lines += [table_line(_line_cells(row["name"], line, bool(made["teacher"]))) for line in row["cost"]]
    note = (
        f"Each line decodes the first {made['sentences']} sentences in a process of its own; figures are medians of "
        "rounds in turn. Memory: the most that model and search held while decoding, above what the process held first."
    )
    if made["teacher"]:
        note += (
            f" × teacher: how many times as fast as the teacher with beam {made['teacher_beam']}, with the same engine "
            f"and decoding, within the same rounds.{other_teacher(table, made['teacher'])}"
        )
    return ["", *lines, "", f"- {note}"]


def _line_cells(name: str, line: Line, teacher: bool) -> list[str]:
    cells = [name, f"{line['engine']}, {line['precision']}"]
    cells += ["in batches" if line["batched"] else "one by one", str(line["beam"])]
    cells += [f"{line[figure]:,.1f}" for figure in FIGURES]
    return cells + ([f"{line['times_teacher']:.2f}" if "times_teacher" in line else "–"] if teacher else [])
