"""The tables of the page: columns, and cells with a value to sort by and a text to show."""

import math
import statistics
from typing import Any

from fairseq_kd.evaluate.result_shapes import MORE_METRICS
from fairseq_kd.report.cost_table import FIGURES, times_fewer
from fairseq_kd.report.machines import machines_notes
from fairseq_kd.report.named_teacher import other_teacher
from fairseq_kd.report.paper_figures import SHOWN, measure_shown
from fairseq_kd.report.result_files import CASELESS, caseless
from fairseq_kd.report.training_table import number_notes, validation_bleu
from fairseq_kd.report.ways import skipped_notes, ways_notes

Cell = list[Any]
"""What a cell is sorted by (None comes last), the text that it shows, and perhaps a smaller text below."""
Table = dict[str, Any]
"""A table of the page: "title", "columns" (each "label" and "hint"), "rows" (lists of cells) and "notes"."""
NOTHING: Cell = [None, "–"]


def column(label: str, hint: str = "", **more: Any) -> dict[str, Any]:
    """A column; ``hint`` is shown where the pointer rests on its heading."""
    return {"label": label, "hint": hint, **more}


def score_table(table: dict[str, Any]) -> Table:
    """The scores of all rows.

    Columns of the kind "delta" are empty: the page fills them, for the baseline that is picked in it.

    Args:
        table: table.json's content.
    """
    beams = list(table["rows"][0]["beams"])
    columns = [column("row"), column("parameters (M)", "millions; a tied matrix counts once")]
    for beam in beams:
        columns += [column(f"BLEU, beam {beam}", "± half the width of the 95 % bootstrap interval")]
        columns += [
            column(f"Δ BLEU, beam {beam}", "difference to the baseline, paired bootstrap", kind="delta", beam=beam)
        ]
    columns += [column(f"{name}, beam {beams[-1]}", hint) for name, hint in (("chrF", ""), ("TER", "lower is better"))]
    more = _more_columns(table)
    rows = [[*_scores(row, beams), *(cell(row) for _, cell in more)] for row in table["rows"]]
    notes = [CASELESS] if caseless(table["signature"]["scores"]) else []
    notes += [*skipped_notes(table), *machines_notes(table), *ways_notes(table)]
    return {"title": "Scores", "columns": columns + [one for one, _ in more], "rows": rows, "notes": notes}


def _scores(row: dict[str, Any], beams: list[str]) -> list[Cell]:
    name = [*_word(row["name"]), *(["with a shortlist"] if "shortlist" in row else [])]
    cells: list[Cell] = [name, _figure(row["parameters"] / 1e6, ",.2f")]
    for beam in beams:
        cells += [_score(row["beams"][beam]["bleu"], 2), NOTHING]
    return [*cells, *(_score(row["beams"][beams[-1]][name], 1) for name in ("chrf", "ter"))]


def _more_columns(table: dict[str, Any]) -> list[tuple[dict[str, Any], Any]]:
    """The columns that only some tables have, each with the function of a row that makes the cell."""
    rows, beams = table["rows"], list(table["rows"][0]["beams"])
    made: list[tuple[dict[str, Any], Any]] = [
        (
            column(f"{SHOWN[metric]}, beam {beam}"),
            lambda row, metric=metric, beam=beam: _score(row["beams"][beam][metric], 2),
        )
        for metric in MORE_METRICS
        for beam in beams
        if all(metric in row["beams"][beam] for row in rows)
    ]
    if any("risks" in row for row in rows):
        for name, label in (("likelihood", "R_llh"), ("coverage", "R_cvg")):
            hint = f"{name} risk, nats a sentence, with its 95 % interval; lower is better"
            made.append((column(label, hint), lambda row, name=name: _risk(row.get("risks", {}).get(name))))
    for beam in beams:
        made.append((
            column(f"sentences/s, beam {beam}", "decoding alone"),
            lambda row, beam=beam: _figure(row["beams"][beam]["sentences_per_second"], ",.1f"),
        ))  # fmt: skip
    if any("nonzero_parameters" in row for row in rows):
        made.append((column("non-zero (M)", "parameters that are not exactly zero"), lambda row: _nonzero(row, table)))
    if any("mode_mass" in row for row in rows):
        hint = "mean probability of a model's own translation (Kim & Rush 2016)"
        for beam in beams:
            made.append((
                column(f"p(t = ŷ), beam {beam}", hint),
                lambda row, beam=beam: _figure(row.get("mode_mass", {}).get(beam), ".1%"),
            ))  # fmt: skip
    return made


def _word(text: str) -> Cell:
    return [text, text]


def _figure(value: float | None, form: str) -> Cell:
    """A number in a form such as ",.1f" or ".1%"."""
    return NOTHING if value is None or math.isnan(value) else [value, f"{value:{form}}"]


def _score(score: dict[str, Any], digits: int) -> Cell:
    small = [f"± {score['interval']:.{digits}f}"] if "interval" in score else []
    small += [f"seeds ± {score['sd']:.{digits}f}"] if score.get("sd") is not None else []
    return [score["mean"], f"{score['mean']:.{digits}f}", ", ".join(small)]


def _risk(risk: dict[str, Any] | None) -> Cell:
    if risk is None:
        return NOTHING
    low, high = risk["interval"]
    return [risk["mean"], f"{risk['mean']:.2f}", f"{low:.2f} to {high:.2f}"]


def _nonzero(row: dict[str, Any], table: dict[str, Any]) -> Cell:
    if "nonzero_parameters" not in row:
        return NOTHING
    fewer = times_fewer(row, table)
    return [*_figure(row["nonzero_parameters"] / 1e6, ",.2f"), f"{fewer:.1f} × fewer" if fewer else ""]


def cost_table(table: dict[str, Any]) -> Table | None:
    """A line for each row, engine, precision, way of decoding and beam; None if no costs were measured."""
    rows = [(row, line) for row in table["rows"] for line in row.get("cost", ())]
    if not rows:
        return None
    labels = ("row", "engine", "decoding", "beam", "sentences/s", "tokens/s", "memory (MiB)", "× teacher")
    lines = []
    for row, line in rows:
        cells = [_word(row["name"]), _word(f"{line['engine']}, {line['precision']}")]
        cells += [_word("in batches" if line["batched"] else "one by one"), [line["beam"], str(line["beam"])]]
        cells += [_figure(line.get(name), ",.1f") for name in FIGURES]
        lines.append([*cells, _figure(line.get("times_teacher"), ",.2f")])
    note = "Medians of rounds in turn, each in a process of its own."
    made = rows[0][0].get("cost_of", {})
    if made.get("teacher_beam"):
        note += f" × teacher: speed beside the teacher with beam {made['teacher_beam']}, within the same rounds."
    note += other_teacher(table, made.get("teacher"))
    return {"title": "What decoding costs", "columns": [column(one) for one in labels], "rows": lines, "notes": [note]}


def training_table(table: dict[str, Any]) -> Table | None:
    """A line for each row that has training logs; None if none has."""
    rows = [row for row in table["rows"] if row.get("training")]
    if not rows:
        return None
    labels = ("row", "updates", "target tokens (M)", "seconds", "validation BLEU", "final g")
    lines = []
    for row in rows:
        trainings = row["training"]
        mean = {
            name: statistics.fmean(one[name] for one in trainings) for name in ("updates", "target_tokens", "seconds")
        }
        bleu = validation_bleu(trainings)
        gates = [one["gate"] for one in trainings if "gate" in one]
        cells = [_word(row["name"]), _figure(mean["updates"], ",.0f")]
        cells += [_figure(mean["target_tokens"] / 1e6, ",.2f"), _figure(mean["seconds"], ",.0f")]
        lines.append([*cells, _figure(statistics.fmean(bleu), ",.2f") if bleu else NOTHING, _gate(gates)])
    note = "Means over training seeds. Seconds: in updates, without validation. g ± its spread in the last interval."
    notes = [note, *number_notes(rows)]
    return {"title": "Training", "columns": [column(one) for one in labels], "rows": lines, "notes": notes}


def _gate(gates: list[dict[str, Any]]) -> Cell:
    if not gates:
        return NOTHING
    mean, spread = (statistics.fmean(one[name] for one in gates) for name in ("mean", "spread"))
    return [mean, f"{mean:.3f}", f"± {spread:.3f}"]


def paper_table(table: dict[str, Any]) -> Table | None:
    """A paper's figures beside those measured; None if there are none."""
    if not table.get("paper"):
        return None
    lines = []
    for line in table["paper"]:
        cells = [_word(line["row"]), _word(measure_shown(line)), _figure(line["paper"], "g")]
        lines.append([*cells, _figure(line["measured"], ",.2f"), _figure(line["difference"], "+.2f")])
    labels = ("row", "measure", "paper", "measured", "difference")
    note = "The paper's figures are of its own data, models and scorer."
    title = "Beside the paper's figures"
    return {"title": title, "columns": [column(one) for one in labels], "rows": lines, "notes": [note]}


def pair_tests(table: dict[str, Any]) -> list[list[Any]]:
    """Each tested pair and beam: positions of the row and of the row held against it, beam, difference in BLEU, p.

    A table from before pairs were tested has only the tests against its own baseline.
    """
    places = {row["name"]: place for place, row in enumerate(table["rows"])}
    pairs = table.get("pairs")
    if pairs is None:
        tested = [
            (place, beam, found)
            for place, row in enumerate(table["rows"])
            for beam, found in row["beams"].items()
            if "delta" in found and "p" in found
        ]
        # The row without a test is what the others were compared with, whichever baseline is asked for now.
        against = sorted(set(places.values()) - {place for place, _, _ in tested})
        return [[place, against[0], beam, found["delta"], found["p"]] for place, beam, found in tested if against]
    return [
        [places[pair["row"]], places[pair["against"]], beam, found["delta"], found["p"]]
        for pair in pairs
        if pair["row"] in places and pair["against"] in places
        for beam, found in pair["beams"].items()
    ]
