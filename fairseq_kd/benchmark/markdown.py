"""The benchmark's table as Markdown."""

from typing import Any

from fairseq_kd.benchmark.calls import AHEAD, DECODED_ROWS


def markdown(table: dict[str, Any]) -> str:
    """table.json's content as text, with notes on how it was measured."""
    lines = ["# Speed and memory", ""]
    lines += [
        "| measured | time | speed, first of its kind = 1 (range) | memory | |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    section = None
    for row in table["rows"]:
        if row["section"] != section:
            section = row["section"]
            lines.append(f"| **{section}** | | | | |")
        lines.append(measured_line(row))
    found = ", ".join(f"{name} {version}" for name, version in table["versions"].items())
    notes = [
        f"Figures are medians of {table['rounds']} rounds, every line in a process of its own and in turn. A speed is "
        "the ratio to the first line of its kind within one round.",
        "KD loss and cross-entropy: forward and backward of 2,560 tokens from decoder features (128 wide, the "
        "teacher's 256) to the gradients of features and projection; memory is what that took above both.",
        "Training step: fairseq's trainer, student 2+2 layers of 128, `--max-tokens 2048`; memory is what model, "
        "teacher, optimiser and steps took together.",
        f"Decoding: the first {DECODED_ROWS:,} training sentences, beam 5; BLEU against their references.",
        f"Rollouts: {AHEAD} batches of `--max-tokens 2048`, that student after 400 updates; the time of 10,000 tokens.",
        "f_distill step: as the training step, from that student; what was drawn before is the gold targets here.",
        "Selection: `fairseq-kd select` by sentence BLEU from the validation set's 35-best lists, from file to file.",
        f"Machine: {', '.join(f'{key} {value}' for key, value in table['machine'].items())}. Versions: {found}. "
        f"Commit: {table['commit'] or 'not known'}. Teacher: SHA-256 {table['teacher'][:12]}….",
    ]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def measured_line(row: dict[str, Any]) -> str:
    """A measurement's line of the table."""
    low, high = row["speed_range"]
    memory = f"{row['memory']:,.0f} MiB" if "memory" in row else ""
    more = ""
    if "bleu" in row:
        more = f"{row['sentences_per_second']:.0f} sentences/s, BLEU {row['bleu']:.2f}"
        more += f", {row['identical']:.2%} of lines as the first"
    if "tokens_per_second" in row:
        more = f"{row['tokens_per_second']:,.0f} tokens/s"
    if "candidates_per_second" in row:
        more = f"{row['candidates_per_second']:,.0f} candidates/s"
    time = f"{row['seconds'] * 1000:,.0f} ms" if row["seconds"] < 10 else f"{row['seconds']:.1f} s"
    return f"| {row['name']} | {time} | {row['speed']:.2f} ({low:.2f} to {high:.2f}) | {memory} | {more} |"
