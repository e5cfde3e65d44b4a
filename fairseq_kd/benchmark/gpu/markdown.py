"""The GPU check's table as Markdown."""

from typing import Any

from fairseq_kd.benchmark.markdown import measured_line

NOTES = {
    "paths": "Paths: fairseq-train's difference is the greatest relative difference of a logged loss over ten updates, "
    "of their mean where sequences are drawn at random; decode's is the share of lines that differ, evaluate's is in "
    "BLEU.",
    "losses": "Losses: forward and backward in bfloat16 of 8,192 tokens from features (4,096 wide, both models) to the "
    "gradients of features and projection; memory is the peak above the inputs. The error is that of 256 tokens' "
    "gradient against float64's, relative to its norm.",
    "rows": "Training steps: fairseq's trainer, a Transformer-base student, `--max-tokens 8192 --fp16`; memory is what "
    "model, teacher, optimiser and steps took together.",
}
"""What the parts of the table mean."""
WITHOUT = "CTranslate2 is not installed: nothing that needs it was run."


def markdown(table: dict[str, Any]) -> str:
    """table.json's content as text; parts that are not there yet are left out."""
    lines = ["# What a GPU says", ""]
    if table["dry_run"]:
        lines += ["A dry run: every step was taken on the CPU with tiny sizes, so no figure here means anything.", ""]
    for title, name, header, line in (
        ("Each path beside the CPU", "paths", "path | | difference from the CPU | limit | ", _path_line),
        ("Losses", "losses", "loss | time | speed, dense = 1 | memory | gradient's error", _loss_line),
        ("Training steps and decoding", "rows", "measured | time | speed, first = 1 | memory | ", measured_line),
        ("A whole training", "training", "training | epochs | time | BLEU, greedy | ", _training_line),
    ):
        if name in table:
            lines += [f"## {title}", "", f"| {header} |", "| --- | ---: | ---: | ---: | --- |"]
            section = None
            for row in table[name]:
                if row.get("section") != section:
                    section = row["section"]
                    lines.append(f"| **{section}** | | | | |")
                lines.append(line(row))
            lines.append("")
    missing = table.get("not_reached")
    found = ", ".join(f"{name} {version}" for name, version in table["versions"].items())
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in table["seconds"].items())
    notes = [
        *(text for name, text in NOTES.items() if name in table),
        *([WITHOUT] if table.get("engines") == ["fairseq"] else []),
        *([f"Not reached in eight minutes: {'; '.join(missing)}."] if missing else []),
        f"Spent: {spent}.",
        f"Machine: {', '.join(f'{key} {value}' for key, value in table['machine'].items())}. Versions: {found}. "
        f"Commit: {table['commit'] or 'not known'}. Teacher: SHA-256 {table['teacher'][:12]}….",
    ]
    return "\n".join([*lines, *(f"- {note}" for note in notes)]) + "\n"


def _path_line(row: dict[str, Any]) -> str:
    state = "ok" if row["ok"] else "**failed**"
    if "reason" in row:
        return f"| {row['name']} | {state} | | {row['limit']:g} | {_cell(row['reason'])} |"
    return f"| {row['name']} | {state} | {row['difference']:.2g} | {row['limit']:g} | {row['note']} |"


def _loss_line(row: dict[str, Any]) -> str:
    if "reason" in row:
        return f"| {row['name']} | {_cell(row['reason'])} | | | |"
    speed = f"{row['speed']:.2f}" if "speed" in row else ""
    time, memory = f"{row['seconds'] * 1000:,.1f} ms", f"{row['memory']:,.0f} MiB"
    return f"| {row['name']} | {time} | {speed} | {memory} | {row.get('error', float('nan')):.1e} |"


def _training_line(row: dict[str, Any]) -> str:
    if "reason" in row:
        return f"| {row['name']} | {row['epochs']} | | | {_cell(row['reason'])} |"
    return f"| {row['name']} | {row['epochs']} | {row['seconds']:.0f} s | {row['bleu']:.2f} | |"


def _cell(text: str) -> str:
    """Text that cannot end a table's cell."""
    return " ".join(text.replace("|", "/").split())
