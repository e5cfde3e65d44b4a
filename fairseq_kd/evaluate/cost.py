"""What a model costs beside its teacher: the half of `fairseq-kd evaluate --cost` that says what is measured."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fairseq.tasks.translation import TranslationTask

from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.conversion import import_ctranslate2
from fairseq_kd.decoding.ctranslate2_engine import device
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash, split_paths
from fairseq_kd.timing.interleaved import Case, measure_in_turn, rows

ROUNDS, ROWS = 3, 500
PRECISIONS = ("float32", "int8")
"""What CTranslate2 is measured in, where the machine supports it."""
MODEL, TEACHER = "model", "teacher"


@dataclass(frozen=True)
class CostPlan:
    """What is measured, checked before the work begins.

    Attributes:
        cases: in their order; a section is one engine in one precision, batched or not, the teacher first.
        rounds: how often.
        sentences: in each measurement.
        teacher: its checkpoints and beam, or None.
    """

    cases: list[Case]
    rounds: int
    sentences: int
    teacher: dict[str, Any] | None


def add_cost_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `fairseq-kd evaluate` that are about cost."""
    parser.add_argument(
        "--cost", type=int, nargs="?", const=ROUNDS, metavar="ROUNDS",
        help="also measure what decoding costs: speed and memory with either engine, in batches and one by one, each "
        f"in a process of its own and all in turn; medians over the rounds ({ROUNDS})",
    )  # fmt: skip
    parser.add_argument("--cost-rows", type=int, metavar="N", help=f"rows that --cost decodes ({ROWS})")
    parser.add_argument(
        "--teacher", metavar="CKPT[:CKPT...]", help="measured beside it by --cost, with the largest --beam"
    )


def plan_costs(
    options: argparse.Namespace, paths: Sequence[str], searches: Sequence[DecodingOptions], task: TranslationTask
) -> CostPlan | None:
    """What the options of `fairseq-kd evaluate` ask for, or None.

    Args:
        options: the verb's.
        paths: the model's checkpoints.
        searches: by beam, the largest last.
        task: with the subset loaded.

    Raises:
        UserError: an option is out of range or goes with --cost alone, or the teacher cannot be used.
    """
    for option in ("cost", "cost_rows"):
        number = getattr(options, option)
        if number is not None and number < 1:
            raise UserError(f"--{option.replace('_', '-')} {number}: give 1 or more")
    if options.cost is None:
        for option in ("--teacher", "--cost-rows"):
            if getattr(options, option[2:].replace("-", "_")) is not None:
                raise UserError(f"{option}: is for what --cost measures; give that too")
        return None
    teachers = split_paths(options.teacher) if options.teacher is not None else []
    if options.teacher is not None and not teachers:
        raise UserError("--teacher: names no file; give the path of a fairseq checkpoint (.pt)")
    sentences = min(options.cost_rows or ROWS, len(task.dataset(options.subset)))
    shared = {"data": options.data, "subset": options.subset, "rows": sentences}
    asked = [(MODEL, paths, search) for search in searches]
    if teachers:
        asked = [(TEACHER, teachers, searches[-1]), *asked]
    cases = list(_cases(asked, shared, task))
    hashes = [{"path": path, "sha256": file_hash(path)} for path in teachers]
    teacher = {"models": hashes, "beam": searches[-1].beam} if teachers else None
    return CostPlan(cases, options.cost, sentences, teacher)


def _cases(
    asked: Sequence[tuple[str, Sequence[str], DecodingOptions]], shared: dict[str, Any], task: TranslationTask
) -> Iterator[Case]:
    takes = {name: engines_of(paths, task) for name, paths, _ in asked}
    for engine, precision in takes[MODEL]:
        for batched in (False, True):
            section = f"{engine}, {precision}, {'batched' if batched else 'one by one'}"
            for name, paths, search in asked:
                if (engine, precision) in takes[name]:
                    what = {"engine": engine, "precision": precision, "batched": batched, "search": asdict(search)}
                    yield Case(section, name, "cost", {"models": list(paths), **shared, **what})


def engines_of(paths: Sequence[str], task: TranslationTask) -> list[tuple[str, str]]:
    """Engines, and what they compute in, that take the models on this machine.

    Raises:
        UserError: as :func:`choose_engine`.
    """
    engines = [("fairseq", "float32")]
    if choose_engine("auto", "float32", paths, task).engine == "ctranslate2":
        supported = import_ctranslate2().get_supported_compute_types(device())
        engines += [("ctranslate2", precision) for precision in PRECISIONS if precision in supported]
    return engines


def measure_costs(plan: CostPlan) -> dict[str, Any]:
    """The medians of what was measured, and how many times as fast as the teacher the model is within a round.

    Raises:
        UserError: a measurement fails.
    """
    measured: dict[str, list[dict[str, Any]]] = {MODEL: [], TEACHER: []}
    beside = {case.section for case in plan.cases if case.name == TEACHER}
    lines = rows(plan.cases, measure_in_turn(plan.cases, plan.rounds, "cost"))
    for case, line in zip(plan.cases, lines, strict=True):
        what = {key: case.arguments[key] for key in ("engine", "precision", "batched")}
        ratio, span = line.pop("speed"), line.pop("speed_range")
        line = {**what, "beam": case.arguments["search"]["beam"], **line}
        if case.name == MODEL and case.section in beside:
            line |= {"times_teacher": ratio, "times_teacher_range": span}
        measured[case.name].append({key: value for key, value in line.items() if key not in ("section", "name")})
    return {
        "rounds": plan.rounds,
        "sentences": plan.sentences,
        "measured": measured[MODEL],
        "teacher": plan.teacher and {**plan.teacher, "measured": measured[TEACHER]},
    }
