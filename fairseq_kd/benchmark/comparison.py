"""`fairseq-kd benchmark`: speed and memory of loss, training step, decoding, … beside fairseq's or sacreBLEU's own."""

import argparse
import logging
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

import fairseq_kd
from fairseq_kd.benchmark.lines import (
    AHEAD,
    DECODED_ROWS,
    STUDENT,
    STUDENT_UPDATES,
    TOP_K,
    decoding_cases,
    loss_cases,
    rollout_cases,
    teacher_sample_cases,
    training_cases,
)
from fairseq_kd.benchmark.selection_speed import DECODING, selections
from fairseq_kd.data.databin import languages
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import check_checkpoint
from fairseq_kd.report.plots import COLOURS
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.provenance import commit, machine, versions
from fairseq_kd.timing.interleaved import Case, measure_in_turn, rows, run_module

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fairseq-kd benchmark`."""
    add = parser.add_argument
    add("--teacher", required=True, metavar="CKPT", help="a Transformer, to learn from and to decode with")
    add("--data", required=True, metavar="DATABIN", help="the data-bin it was trained on")
    add(
        "--output",
        required=True,
        metavar="DIR",
        type=Path,
        help="gets table.md, table.json, table.png, cache and lists",
    )
    add("--rounds", type=int, default=3, help="how often all is measured in turn; medians count (%(default)s)")


def make_cache(teacher: str, data: str, output: Path) -> Path:
    """The teacher's soft targets on its own data-bin, in a folder of ``output``.

    Raises:
        UserError: the teacher cannot be used.
    """
    cache = output / f"cache-{file_hash(teacher)[:12]}"
    making = ["--model", teacher, "--teacher-data", data, "--data", data, "--top-k", str(TOP_K), "--output", str(cache)]
    run_module(["fairseq_kd.cli", "cache", *making])
    return cache


def run(options: argparse.Namespace) -> None:
    """Measure everything in turn, several times over, and write the table.

    Raises:
        UserError: the teacher cannot be used, or a measurement fails.
    """
    if options.rounds < 1:
        raise UserError(f"--rounds {options.rounds}: give 1 or more")
    check_checkpoint(options.teacher, role="teacher")
    cache = make_cache(options.teacher, options.data, options.output)
    nbest = options.output / f"nbest-{file_hash(options.teacher)[:12]}"
    making = ["--model", options.teacher, "--data", options.data, "--output", str(nbest)]
    run_module(["fairseq_kd.cli", "decode", *making, *DECODING])
    student = _train_student(options.data, options.output)
    cases = [
        *loss_cases(),
        *training_cases(options.teacher, options.data, cache),
        *decoding_cases(options.teacher, options.data, options.output),
        *rollout_cases(student, options.data),
        *teacher_sample_cases(student, options.teacher, options.data),
        *(Case("Selection", name, "selection", given) for name, given in selections(nbest, options.data).items()),
    ]
    table = {
        "rows": list(rows(cases, measure_in_turn(cases, options.rounds, "benchmark"))),
        "rounds": options.rounds,
        "teacher": file_hash(options.teacher),
        **{"versions": versions(), "machine": machine(), "commit": commit()},
    }
    write_json(options.output / "table.json", table)
    with whole_file(options.output / "table.md") as handle:
        handle.write(markdown(table))
    write_plot(table, options.output / "table.png")
    print(markdown(table))


def _train_student(data: str, output: Path) -> str:
    """One that has learnt enough for its sequences to end; it is trained once for an output folder."""
    folder = output / f"student-{file_hash(Path(data, f'dict.{languages(data)[1]}.txt'))[:12]}"
    options = [*STUDENT.split(), *STUDENT_UPDATES.split(), *([] if torch.cuda.is_available() else ["--cpu"])]
    plugin = str(Path(fairseq_kd.__file__).parent)
    run_module(["fairseq_cli.train", data, "--user-dir", plugin, *options, "--save-dir", str(folder)])
    return str(folder / "checkpoint_last.pt")


def markdown(table: dict[str, Any]) -> str:
    """The table as Markdown, with what made it."""
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
        lines.append(f"| {row['name']} | {time} | {row['speed']:.2f} ({low:.2f} to {high:.2f}) | {memory} | {more} |")
    found = ", ".join(f"{name} {version}" for name, version in table["versions"].items())
    notes = [
        f"Medians of {table['rounds']} rounds, every line in a process of its own and in turn; a speed is the ratio to "
        "the first line of its kind within one round.",
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


def write_plot(table: dict[str, Any], path: Path) -> None:
    """Speeds as horizontal bars, a colour for each section."""
    entries = table["rows"]
    sections = list(dict.fromkeys(row["section"] for row in entries))
    figure = Figure(figsize=(8, 1.2 + 0.3 * len(entries)))
    axes = figure.add_subplot()
    colours = [COLOURS[sections.index(row["section"]) % len(COLOURS)] for row in entries]
    speeds = [row["speed"] for row in entries]
    axes.barh(range(len(entries)), speeds, color=colours)
    for place, speed in enumerate(speeds):
        axes.annotate(f"{speed:.2f}", (speed, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(entries)), [f"{row['section']}: {row['name']}" for row in entries], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(1.0, color="#777777", linestyle=(0, (2, 2)), linewidth=1)
    axes.set_xlabel("speed, the first of its kind = 1")
    axes.spines[["top", "right"]].set_visible(False)
    with whole_file(path, "wb") as handle:
        figure.savefig(handle, format="png", dpi=150, bbox_inches="tight")
