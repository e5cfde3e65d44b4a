"""The table as Markdown, with notes that explain it."""

from typing import Any

from fairseq_kd.evaluate.result_shapes import METRICS
from fairseq_kd.report.comparison import PAIRED, pairs_section
from fairseq_kd.report.cost_table import cost_cells, cost_header, cost_notes, cost_section
from fairseq_kd.report.gap import gap_section
from fairseq_kd.report.headline import headline_section
from fairseq_kd.report.machines import machine_words, machines_notes
from fairseq_kd.report.more_metrics import more_metrics_section
from fairseq_kd.report.named_teacher import other_teacher
from fairseq_kd.report.paper_figures import SHOWN, paper_section
from fairseq_kd.report.result_files import CASELESS, caseless
from fairseq_kd.report.table_line import spread_cell, table_head, table_line
from fairseq_kd.report.training_table import training_section
from fairseq_kd.report.ways import risks_notes, skipped_notes, ways_notes

SHORTLIST = "†"
"""Marks a row that was decoded with a lexical shortlist."""


def markdown(table: dict[str, Any]) -> str:
    """The heading, the table and its notes, of table.json's content."""
    beams = list(table["rows"][0]["beams"])
    largest = beams[-1]
    header = ["row", "parameters (M)"]
    for beam in beams:
        header += [f"BLEU, beam {beam}", *([f"Δ BLEU, beam {beam}"] if table["baseline"] else [])]
    header += [f"chrF, beam {largest}", f"TER, beam {largest}"]
    header += ["R_llh", "R_cvg"] if table["signature"].get("risks") else []
    header += [*(f"sentences/s, beam {beam}" for beam in beams), *cost_header(table)]
    lines = [f"# {table['title']}", "", *table_head(header)]
    lines += [table_line([*_cells(row, table), *cost_cells(row, table)]) for row in table["rows"]]
    sections = [
        *more_metrics_section(table),
        *paper_section(table),
        *headline_section(table),
        *gap_section(table),
        *pairs_section(table),
        *training_section(table),
        *cost_section(table),
    ]
    return "\n".join([*lines, "", *(f"- {note}" for note in _notes(table)), *sections]) + "\n"


def _cells(row: dict[str, Any], table: dict[str, Any]) -> list[str]:
    """A row's cells, without those of cost."""
    beams = list(row["beams"].values())
    mark = f" {SHORTLIST}" if "shortlist" in row else ""
    cells = [f"{row['name']}{mark}", f"{row['parameters'] / 1e6:.2f}"]
    for beam in beams:
        cells.append(spread_cell(beam["bleu"], 2))
        if table["baseline"]:
            cells.append(f"{beam['delta']:+.2f} (p = {beam['p']:.3f})" if "delta" in beam else "–")
    return [
        *cells,
        spread_cell(beams[-1]["chrf"], 1),
        spread_cell(beams[-1]["ter"], 1),
        *(_risks(row) if table["signature"].get("risks") else []),
        *map(_speed, beams),
    ]


def _risks(row: dict[str, Any]) -> list[str]:
    return [spread_cell(row["risks"][name], 2) if "risks" in row else "–" for name in ("likelihood", "coverage")]


def _speed(beam: dict[str, Any]) -> str:
    own, fairseq = beam["sentences_per_second"], beam.get("fairseq_sentences_per_second")
    return f"{own:.1f}" + (f" ({own / fairseq:.1f} ×)" if fairseq else "")


def _notes(table: dict[str, Any]) -> list[str]:
    signature = table["signature"]
    evaluated, scores = signature["evaluated"], signature["scores"]
    several = any(len(row["seeds"]) > 1 for row in table["rows"])
    notes = [
        f"{table['sentences']} sentences, {_languages(evaluated)}; beam 1 is greedy search; "
        "higher is better, for TER lower."
    ]
    if several:
        notes.append(
            "Scores are means ± sample standard deviations over training seeds. Speeds and the picture's intervals are "
            "means."
        )
    if table["baseline"]:
        bootstrap = signature["bootstrap"]
        notes.append(
            f"Δ BLEU is against {table['baseline']}; p is from {PAIRED} ({bootstrap['samples']} resamples, seed "
            f"{bootstrap['seed']})" + (
                ". With several seeds, results of equal seed are compared (all pairs if one row has a single result): "
                "Δ is the mean over these pairs; the bootstrap draws sentences and seeds together." if several else "."
            )
        )  # fmt: skip
    notes.append("; ".join(f"{SHOWN[metric]}: `{scores[metric]}`" for metric in METRICS))
    notes += [CASELESS] if caseless(scores) else []
    if signature.get("risks"):
        notes += [_risks_note(table), *risks_notes(table)]
    notes.append(
        "sentences/s: decoding alone, without loading and a warm-up batch, on: "
        + "; ".join(machine_words(machine) for machine in evaluated["machine"])
        + f". Decoded by {', '.join(evaluated['engine'])} in {', '.join(evaluated['precision'])}."
    )
    if any("fairseq_sentences_per_second" in beam for row in table["rows"] for beam in row["beams"].values()):
        notes.append("× is how many times as fast as fairseq's own search, measured in the same run.")
    notes += [*skipped_notes(table), *machines_notes(table), *ways_notes(table)]
    limited = [f"{row['name']} (SHA-256 {row['shortlist'][:12]}…)" for row in table["rows"] if "shortlist" in row]
    notes += [f"{SHORTLIST} decoded with a lexical shortlist: {', '.join(limited)}."] if limited else []
    notes += cost_notes(table)
    notes.append("Versions: " + "; ".join(_listed(found) for found in evaluated["versions"]) + ".")
    seeds = (f"{row['name']} {', '.join(map(str, row['seeds']))}" for row in table["rows"] if row["seeds"] != [None])
    notes.append(f"Commit: {signature['commit'] or 'not known'}. Training seeds: {'; '.join(seeds) or 'not recorded'}.")
    if signature["config"]:
        notes.append(f"Configuration: {signature['config']['name']}, SHA-256 {signature['config']['sha256'][:12]}….")
    return notes


def _risks_note(table: dict[str, Any]) -> str:
    made, distinct = next(
        (table["signature"]["risks"], row["risks"]["teacher_dist"]) for row in table["rows"] if "risks" in row
    )
    low, high = distinct["interval"]
    return (
        "R_llh: mean −log p(y′) of the teacher p over the student's samples; it is also low for a student that says "
        "little else than one sentence. R_cvg: mean −log q(y) of the student q over the teacher's samples. Both are in "
        f"nats a sentence, from {made['samples']} samples of each model and source{_cut_to(made['sampling'])}. "
        f"TeacherDist, the share of distinct bigrams among the teacher's samples of a source: {distinct['mean']:.3f} "
        f"(95 % interval {low:.3f} to {high:.3f}).{other_teacher(table, [made['teacher']])}"
    )


def _cut_to(sampling: dict[str, Any]) -> str:
    """The options that cut the distribution samples are drawn from, in brackets; empty if none does."""
    cuts = {"top-k": sampling["top_k"] or None, "top-p": sampling["top_p"], "temperature": sampling["temperature"]}
    shown = [f"{name} {value}" for name, value in cuts.items() if value not in (None, 1)]
    return f" ({', '.join(shown)})" if shown else ""


def _languages(evaluated: dict[str, Any]) -> str:
    return ", ".join("→".join(pair) for pair in evaluated["languages"])


def _listed(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
