"""`fairseq-kd benchmark`: speed and memory of loss, training step, decoding, … beside fairseq's or sacreBLEU's own."""

import argparse
import json
import logging
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctranslate2
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from fairseq_kd.checkpoints import check_checkpoint
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.plots import COLOURS
from fairseq_kd.evaluate.selection_speed import DECODING, selections
from fairseq_kd.files import file_hash, whole_file, write_json
from fairseq_kd.signature import commit, machine, versions

logger = logging.getLogger(__name__)

STUDENT = """
  --arch transformer --share-all-embeddings --encoder-layers 2 --decoder-layers 2 --encoder-embed-dim 128
  --decoder-embed-dim 128 --encoder-ffn-embed-dim 256 --decoder-ffn-embed-dim 256 --encoder-attention-heads 4
  --decoder-attention-heads 4 --dropout 0.1 --optimizer adam --lr 1e-4 --clip-norm 1.0 --max-tokens 2048
  --num-workers 0 --data-buffer-size 0 --seed 1
"""
SMOOTHED = ["--label-smoothing", "0.1"]
TOP_K = 8
PRECISIONS = ("float32", "bfloat16", "int8")
DECODED_ROWS = 5000


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        section: the lines it is compared with.
        name: what the line says.
        kind: what of :mod:`fairseq_kd.evaluate.measure` measures it.
        arguments: of that.
    """

    section: str
    name: str
    kind: str
    arguments: dict[str, Any]


def loss_cases() -> list[Case]:
    """Losses from features on; the first of a section is what the others are compared with."""
    names = {
        "dense_kd": "dense textbook KD loss",
        "fused_kd": "fused KD loss",
        "stock_ce": "fairseq's label-smoothed cross-entropy",
        "fused_ce": "fused label-smoothed cross-entropy",
    }
    sizes = {"tokens": 2560, "width": 128, "teacher_width": 256}
    return [
        Case(
            f"{title}, vocabulary {vocabulary:,}",
            names[loss],
            "loss",
            {"loss": loss, "vocabulary": vocabulary, **sizes},
        )
        for vocabulary in (8000, 32000)
        for title, losses in (("KD loss", ("dense_kd", "fused_kd")), ("Cross-entropy", ("stock_ce", "fused_ce")))
        for loss in losses
    ]


def training_cases(teacher: str, data: str, cache: Path) -> list[Case]:
    """Whole updates of the same student."""
    task = ["--task", "translation_kd"]
    live = [*task, "--teacher-path", teacher, "--teacher-data", data, "--criterion", "token_kd", *SMOOTHED]
    cached = [*task, "--teacher-cache", str(cache), "--criterion", "token_kd", *SMOOTHED]
    options = {
        "label_smoothed_cross_entropy (fairseq)": ["--criterion", "label_smoothed_cross_entropy", *SMOOTHED],
        "fused_cross_entropy": ["--criterion", "fused_cross_entropy", *SMOOTHED],
        "token_kd, live teacher": live,
        "token_kd, live teacher, --teacher-bf16": [*live, "--teacher-bf16"],
        f"token_kd, cache of top {TOP_K}": cached,
    }
    return [
        Case("Training step", name, "training", {"data": data, "options": [*STUDENT.split(), *chosen], "steps": 20})
        for name, chosen in options.items()
    ]


def decoding_cases(teacher: str, data: str, folder: Path) -> list[Case]:
    """Beam search with either engine."""
    supported = ctranslate2.get_supported_compute_types("cuda" if torch.cuda.is_available() else "cpu")
    searches = [("fairseq", "float32"), *(("ctranslate2", one) for one in PRECISIONS if one in supported)]
    shared = {"model": teacher, "data": data, "rows": DECODED_ROWS, "reference": str(folder / "fairseq-float32.txt")}
    return [
        Case(
            "Decoding",
            f"{engine}, {precision}",
            "decoding",
            {**shared, "engine": engine, "precision": precision, "output": str(folder / f"{engine}-{precision}.txt")},
        )
        for engine, precision in searches
    ]


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


def run(options: argparse.Namespace) -> None:
    """Measure everything in turn, several times over, and write the table.

    Raises:
        UserError: the teacher cannot be used, or a measurement fails.
    """
    if options.rounds < 1:
        raise UserError(f"--rounds {options.rounds}: give 1 or more")
    check_checkpoint(options.teacher, role="teacher")
    cache = options.output / f"cache-{file_hash(options.teacher)[:12]}"
    making = ["--model", options.teacher, "--data", options.data, "--top-k", str(TOP_K), "--output", str(cache)]
    _child(["fairseq_kd.cli", "cache", *making])
    nbest = options.output / f"nbest-{file_hash(options.teacher)[:12]}"
    making = ["--model", options.teacher, "--data", options.data, "--output", str(nbest)]
    _child(["fairseq_kd.cli", "decode", *making, *DECODING])
    cases = [
        *loss_cases(),
        *training_cases(options.teacher, options.data, cache),
        *decoding_cases(options.teacher, options.data, options.output),
        *(Case("Selection", name, "selection", given) for name, given in selections(nbest, options.data).items()),
    ]
    rounds: list[list[dict[str, float]]] = [[] for _ in cases]
    with tqdm(total=options.rounds * len(cases), unit="measurement", desc="benchmark", disable=None) as bar:
        for _ in range(options.rounds):
            for case, figures in zip(cases, rounds, strict=True):
                figures.append(measure(case))
                bar.update()
    table = {
        "rows": list(rows(cases, rounds)),
        "rounds": options.rounds,
        "teacher": file_hash(options.teacher),
        **{"versions": versions(), "machine": machine(), "commit": commit()},
    }
    write_json(options.output / "table.json", table)
    with whole_file(options.output / "table.md") as handle:
        handle.write(markdown(table))
    write_plot(table, options.output / "table.png")
    print(markdown(table))


def measure(case: Case) -> dict[str, float]:
    """One case's figures, from a process of its own.

    Raises:
        UserError: it failed.
    """
    return json.loads(_child(["fairseq_kd.evaluate.measure", case.kind, json.dumps(case.arguments)]).splitlines()[-1])


def _child(words: Sequence[str]) -> str:
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"python -m {' '.join(words[:2])} failed: {reason}")
    return done.stdout


def rows(cases: Sequence[Case], rounds: Sequence[Sequence[dict[str, float]]]) -> Any:
    """A line for each case: medians over the rounds, and ratios within each round to the first case of its section."""
    first: dict[str, Sequence[dict[str, float]]] = {}
    for case, figures in zip(cases, rounds, strict=True):
        base = first.setdefault(case.section, figures)
        ratios = [one["seconds"] / own["seconds"] for one, own in zip(base, figures, strict=True)]
        yield {
            "section": case.section,
            "name": case.name,
            **{key: statistics.median(one[key] for one in figures) for key in figures[0]},
            "speed": statistics.median(ratios),
            "speed_range": [min(ratios), max(ratios)],
        }


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
