"""What a GPU says: its paths beside the CPU's, and its speeds."""

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from fairseq_kd.benchmark.calls import STUDENT, decoding_calls, engines, training_calls
from fairseq_kd.benchmark.gpu import PARTS
from fairseq_kd.benchmark.gpu.commands import PLUGIN, fairseq_kd_command, reason, run
from fairseq_kd.benchmark.gpu.losses import measure_losses
from fairseq_kd.benchmark.gpu.markdown import markdown
from fairseq_kd.benchmark.gpu.path import Material
from fairseq_kd.benchmark.gpu.paths import check_paths, write_cache
from fairseq_kd.benchmark.plot import write_plot
from fairseq_kd.data.databins.files import TRAIN, only_folder
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import check_checkpoint
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.provenance import commit, machine, versions
from fairseq_kd.timing.interleaved import TimedCall, measure, table_lines

LARGE = """
  --arch transformer --share-all-embeddings --dropout 0.1 --optimizer adam --lr 1e-4 --clip-norm 1.0 --max-tokens 8192
  --num-workers 0 --data-buffer-size 0 --seed 1 --fp16
"""
"""The student whose steps are timed: Transformer-base (Vaswani et al. 2017)."""
FULL = """
  --criterion token_kd --lr 1.5e-3 --lr-scheduler inverse_sqrt --warmup-updates 500 --max-tokens-valid 8192
  --no-epoch-checkpoints --log-format simple --log-interval 100 --fp16
"""
"""The whole training: the benchmark's small student, in large batches."""
SIZES = {"tokens": 8192, "width": 4096}
LIMIT = 480
"""Seconds after which no further measurement begins."""
VOCABULARIES = (32000, 128256)
"""Liger-Kernel's own sizes: 8,192 tokens, 4,096 wide, and the vocabularies of Llama 2 and 3."""


def check(
    output: Path, teacher: str | None, data: str | None, *, dry_run: bool, parts: Sequence[str] = PARTS
) -> dict[str, Any]:
    """Check and measure, and write table.md, table.json and table.png.

    Args:
        output: folder for the three files; work files go to its subfolder gpu_check.work.
        teacher: the checkpoint of a Transformer; None: a small one is trained on made-up text.
        data: the teacher's data-bin.
        dry_run: take every step on the CPU, with tiny sizes.
        parts: what to measure, in this order, of :data:`fairseq_kd.benchmark.gpu.PARTS`.

    Returns:
        The content of table.json.

    Raises:
        UserError: there is no GPU, or the teacher or the data-bin cannot be used or lies in gpu_check.work.
    """
    if not (dry_run or torch.cuda.is_available()):
        raise UserError("torch sees no GPU; --dry-run takes every step on the CPU")
    if teacher is not None and data is not None:
        check_checkpoint(teacher, role="teacher")
        only_folder(data, TRAIN)
    begun, work = time.monotonic(), output / "gpu_check.work"
    for path in filter(None, (teacher, data)):
        if Path(path).resolve().is_relative_to(work.resolve()):
            raise UserError(f"{path}: the check begins by deleting {work}; move it elsewhere")
    shutil.rmtree(work, ignore_errors=True)  # figures of an earlier run are not this run's
    if teacher is None or data is None:
        teacher, data = make_teacher(work, gpu=not dry_run, small=dry_run)
    given = Material(teacher, data, work, gpu=not dry_run)
    table: dict[str, Any] = {
        "dry_run": dry_run,
        "teacher": file_hash(teacher),
        "engines": list(engines()),
        "seconds": {},
    }

    def keep(name: str, lines: list[dict[str, Any]]) -> None:
        table[name], table["seconds"][name] = lines, round(time.monotonic() - started, 1)
        table.update(versions=versions(), machine=machine(), commit=commit())
        _write(table, output)  # whatever happens later, this part is there

    def speeds() -> None:
        if "paths" not in parts:  # they write the cache that a training step reads
            write_cache(given, "train", True)
        end = begun + (math.inf if dry_run else LIMIT)
        table["not_reached"] = speed_rows(given, end, lambda lines: keep("rows", lines))
        _write(table, output)

    measurements = {
        "paths": lambda: keep("paths", check_paths(given)),
        "losses": lambda: keep("losses", loss_rows(dry_run)),
        "training": lambda: keep("training", [whole_training(given)]),
        "speeds": speeds,
    }
    for part in parts:
        started = time.monotonic()
        measurements[part]()
    return table


def make_teacher(work: Path, gpu: bool, small: bool) -> tuple[str, str]:
    """Train a small teacher on made-up text (`fairseq-kd synthetic`).

    Returns:
        The checkpoint and the data-bin.

    Raises:
        UserError: one of the commands failed.
    """
    raw, data = work / "raw", work / "data"
    size = "300" if small else "10000"
    fairseq_kd_command(["synthetic", "--output", str(raw), "--train", size, "--valid", "100", "--test", "100"], gpu)
    splits = [f"--{split}={raw / split}" for split in ("train", "valid", "test")]
    pair = ["--source-lang", "src", "--target-lang", "tgt"]
    made = ["--output", str(data), "--data-bin", str(data / "data-bin")]
    fairseq_kd_command(["prepare", *pair, *splits, "--vocab-size", "500", *made], gpu)
    options = ["--criterion", "fused_cross_entropy", "--lr", "3e-3", "--max-update", "20" if small else "400"]
    place = ["--save-dir", str(work / "teacher"), *([] if gpu else ["--cpu"])]
    words = [str(data / "data-bin"), "--user-dir", PLUGIN, *STUDENT.split(), *options, "--disable-validation", *place]
    run(["fairseq-train", *words], gpu)
    return str(work / "teacher" / "checkpoint_last.pt"), str(data / "data-bin")


def loss_rows(dry_run: bool) -> list[dict[str, Any]]:
    """Time and memory of the losses, each vocabulary in a process of its own."""
    name = f"{measure_losses.__module__}:{measure_losses.__name__}"
    lines = []
    for vocabulary in (500, 1000) if dry_run else VOCABULARIES:
        sizes = {"tokens": 64, "width": 16, "steps": 2} if dry_run else SIZES
        arguments = {"vocabulary": vocabulary, "device": "cpu" if dry_run else "cuda", **sizes}
        try:
            printed = run(["fairseq_kd.timing.call", name, json.dumps(arguments)], not dry_run)
            lines += json.loads(printed.splitlines()[-1])
        except UserError as error:
            lines.append({"section": f"Losses, vocabulary {vocabulary:,}", "name": "all", "reason": reason(error)})
    return lines


def speed_rows(given: Material, end: float, keep: Callable[[list[dict[str, Any]]], None]) -> list[str]:
    """Measure training steps and decoding beside fairseq's, one after another.

    Args:
        given: the teacher and its data-bin.
        end: when no further measurement begins, by ``time.monotonic()``.
        keep: takes the table's lines so far, after each measurement.

    Returns:
        What was not measured for lack of time.
    """
    cache = Path(given.of("cache", True))
    student = (LARGE if given.gpu else STUDENT).split()
    calls = training_calls(given.teacher, given.data, cache, student)
    calls += decoding_calls(given.teacher, given.data, given.folder)
    if not given.gpu:  # one call of each function, and a single step
        first = {call.function: call for call in reversed(calls)}
        calls = [_shortened(call) for call in first.values()]
    measured: list[tuple[TimedCall, dict[str, float]]] = []
    missing = []
    for call in tqdm(calls, unit="measurement", desc="GPU speeds", disable=None):
        if time.monotonic() > end:
            missing.append(f"{call.section}, {call.name}")
            continue
        try:
            measured.append((call, measure(call)))
        except UserError as error:
            print(f"gpu_check: {call.section}, {call.name}: {reason(error)}", file=sys.stderr)
        keep(table_lines([call for call, _ in measured], [[figures] for _, figures in measured]))
    return missing


def _shortened(call: TimedCall) -> TimedCall:
    return replace(call, arguments={**call.arguments, **({"steps": 1} if "steps" in call.arguments else {})})


def whole_training(given: Material) -> dict[str, Any]:
    """Train the small student with token_kd from beginning to end, and score it.

    Returns:
        "name", "seconds", "epochs" and "bleu"; or "reason", why there is none.
    """
    epochs, folder = "8" if given.gpu else "1", given.folder / "student"
    options = [word for word in FULL.split() if given.gpu or word != "--fp16"]
    live = ["--task", "translation_kd", "--teacher-path", given.teacher, "--teacher-data", given.data]
    words = [given.data, "--user-dir", PLUGIN, *STUDENT.split(), *options, *live, "--max-epoch", epochs]
    words += ["--max-tokens", "8192", "--save-dir", str(folder), *([] if given.gpu else ["--cpu"])]
    line: dict[str, Any] = {"name": "token_kd, live teacher, --fp16", "epochs": int(epochs)}
    started = time.monotonic()
    try:
        run(["fairseq-train", *words], given.gpu)
        line["seconds"] = time.monotonic() - started
        result = given.of("student", given.gpu) + ".json"
        search = ["--subset", "valid", "--beam", "1", "--engine", "fairseq", "--max-len-a", "1.2", "--max-len-b", "10"]
        model = ["--model", str(folder / "checkpoint_best.pt"), "--data", given.data]
        fairseq_kd_command(["evaluate", *model, *search, "--output", result], given.gpu)
        line["bleu"] = json.loads(Path(result).read_text(encoding="utf-8"))["beams"]["1"]["bleu"]["score"]
    except UserError as error:
        line["reason"] = reason(error)
    return line


def _write(table: dict[str, Any], output: Path) -> None:
    first: dict[str, float] = {}
    for row in (one for one in table.get("losses", []) if "seconds" in one):
        row["speed"] = first.setdefault(row["section"], row["seconds"]) / row["seconds"]
    write_json(output / "table.json", table)
    with whole_file(output / "table.md") as handle:
        handle.write(markdown(table))
    rows = [row for row in [*table.get("losses", []), *table.get("rows", [])] if "speed" in row]
    if rows:
        write_plot({"rows": rows}, output / "table.png")
