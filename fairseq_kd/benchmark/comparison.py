"""Measure speed and memory of losses, training steps, decoding, … beside fairseq's or sacreBLEU's own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import fairseq_kd
from fairseq_kd.benchmark.calls import (
    STUDENT,
    STUDENT_UPDATES,
    TOP_K,
    decoding_calls,
    hybrid_calls,
    loss_calls,
    rollout_calls,
    selection_calls,
    teacher_sample_calls,
    training_calls,
)
from fairseq_kd.benchmark.markdown import markdown
from fairseq_kd.benchmark.plot import write_plot
from fairseq_kd.benchmark.selection_speed import SUBSET
from fairseq_kd.corpus.cache import cache
from fairseq_kd.corpus.distilled.decode import decode
from fairseq_kd.data.databins.files import TRAIN, UNNAMED, Languages, only_folder
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import check_checkpoint
from fairseq_kd.networks.data_languages import data_languages
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.provenance import commit, machine, versions
from fairseq_kd.timing.interleaved import TimedCall, measure_in_turn, run_module, table_lines

NBEST = DecodingOptions(beam=35, nbest=35, max_len_a=1.2, max_len_b=10)
"""How the n-best lists are made."""


def benchmark(
    teacher: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    rounds: int = 3,
    languages: Languages = UNNAMED,
) -> dict[str, Any]:
    """Measure everything in turn, several times over, and write a table.

    Args:
        teacher: checkpoint of a Transformer, to learn from and to decode with.
        data: the data-bin that it was trained on.
        output: folder for table.md, table.json and table.png. The teacher's soft targets and n-best lists and a trained
            student are kept there, too, and used again by the next call.
        rounds: how often everything is measured; medians count.
        languages: source and target, as :func:`fairseq_kd.data.databins.files.choose_pair` takes them.

    Returns:
        The content of table.json: in "rows" a line for each measurement, and what made them.

    Raises:
        UserError: ``rounds`` is below 1, the teacher or the data-bin cannot be used, or a measurement fails.
    """
    if rounds < 1:
        raise UserError(f"--rounds {rounds}: give 1 or more")
    teacher, data, folder = str(teacher), str(data), Path(output)
    check_checkpoint(teacher, role="teacher")
    only_folder(data, TRAIN)
    pair = data_languages(data, teacher, languages, "teacher")
    soft_targets = make_cache(teacher, data, folder, pair)
    nbest = make_nbest(teacher, data, folder, pair)
    student = _train_student(data, folder, pair)
    calls = [
        *loss_calls(),
        *training_calls(teacher, data, soft_targets),
        *hybrid_calls(teacher, data, soft_targets),
        *decoding_calls(teacher, data, folder),
        *rollout_calls(student, data),
        *teacher_sample_calls(student, teacher, data),
        *selection_calls(nbest, data),
    ]
    calls = [_in_languages(call, pair) for call in calls]
    table = {
        "rows": table_lines(calls, measure_in_turn(calls, rounds, "benchmark")),
        "rounds": rounds,
        "teacher": file_hash(teacher),
        **{"versions": versions(), "machine": machine(), "commit": commit()},
    }
    write_json(folder / "table.json", table)
    with whole_file(folder / "table.md") as handle:
        handle.write(markdown(table))
    write_plot(table, folder / "table.png")
    return table


def make_cache(teacher: str, data: str, folder: Path, languages: Languages = UNNAMED) -> Path:
    """Write the teacher's soft targets of its own training set below ``folder``.

    Raises:
        UserError: the teacher cannot be used.
    """
    place = folder / f"cache-{file_hash(teacher)[:12]}"
    cache(teacher, data, place, TOP_K, teacher_data=data, languages=languages)
    return place


def make_nbest(teacher: str, data: str, folder: Path, languages: Languages = UNNAMED) -> Path:
    """Write the teacher's n-best lists of the validation set below ``folder``.

    Raises:
        UserError: the teacher cannot be used.
    """
    place = folder / f"nbest-{file_hash(teacher)[:12]}"
    decode(teacher, data, place, NBEST, subset=SUBSET, languages=languages)
    return place


def _in_languages(call: TimedCall, pair: tuple[str, str]) -> TimedCall:
    """The call with the data-bin's languages among its options for fairseq-train, or as an argument."""
    if "data" not in call.arguments:
        return call
    if "options" in call.arguments:
        return replace(call, arguments={**call.arguments, "options": [*call.arguments["options"], *_named(pair)]})
    return replace(call, arguments={**call.arguments, "languages": list(pair)})


def _named(pair: tuple[str, str]) -> list[str]:
    """The languages as options of fairseq-train."""
    return ["--source-lang", pair[0], "--target-lang", pair[1]]


def _train_student(data: str, folder: Path, pair: tuple[str, str]) -> str:
    """The checkpoint of a student that was trained until its sequences end; a folder's student is trained once."""
    place = folder / f"student-{file_hash(Path(data, f'dict.{pair[1]}.txt'))[:12]}"
    options = [
        *STUDENT.split(),
        *STUDENT_UPDATES.split(),
        *_named(pair),
        *([] if torch.cuda.is_available() else ["--cpu"]),
    ]
    plugin = str(Path(fairseq_kd.__file__).parent)
    run_module(["fairseq_cli.train", data, "--user-dir", plugin, *options, "--save-dir", str(place)])
    return str(place / "checkpoint_last.pt")
