"""What decoding with a model costs, beside its teacher: which measurements are made, and their summary."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fairseq.tasks.translation import TranslationTask

from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.ctranslate2.conversion import import_ctranslate2
from fairseq_kd.decoding.ctranslate2.engine import device
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.evaluate.costs.decoding_cost import measure_cost
from fairseq_kd.evaluate.options import CostOptions
from fairseq_kd.storage.files import file_hash, split_paths
from fairseq_kd.timing.interleaved import TimedCall, measure_in_turn, table_lines

PRECISIONS = ("float32", "int8")
"""The precisions in which CTranslate2 is measured, where the machine supports them."""
MODEL, TEACHER, PLAIN = "model", "teacher", "without shortlist"


@dataclass(frozen=True)
class CostPlan:
    """The measurements to make.

    Attributes:
        calls: in their order. A section is one engine in one precision, in batches or one by one; the teacher's call
            is its first.
        rounds: how often each is repeated.
        sentences: how many each one decodes.
        teacher: the teacher's "models" and "beam", or None.
    """

    calls: list[TimedCall]
    rounds: int
    sentences: int
    teacher: dict[str, Any] | None


@dataclass(frozen=True)
class _Asked:
    """A model to measure: the name of its lines, its checkpoints, how it searches, and its shortlist."""

    name: str
    paths: Sequence[str]
    search: DecodingOptions
    shortlist: Path | None = None

    def engines(self, task: TranslationTask) -> list[tuple[str, str]]:
        """The engines that take it, each with each of its precisions."""
        found = engines_of(self.paths, task, self.search)
        return [one for one in found if one[0] == "ctranslate2"] if self.shortlist else found


def plan_costs(
    options: CostOptions,
    paths: Sequence[str],
    searches: Sequence[DecodingOptions],
    task: TranslationTask,
    subset: str,
    engine: str = "auto",
    shortlist: Path | None = None,
) -> CostPlan:
    """The measurements that ``options`` ask for.

    Args:
        options: how to measure.
        paths: the model's checkpoints.
        searches: one for each beam size, the largest last.
        task: with ``subset`` loaded.
        subset: the split whose first rows are decoded.
        engine: the engine to measure; "auto": all that take the model.
        shortlist: a lexical shortlist. The model is measured with it and without it, in CTranslate2 alone.

    Raises:
        UserError: the model or the teacher cannot be used.
    """
    sentences = min(options.rows, len(task.dataset(subset)))
    languages = [task.cfg.source_lang, task.cfg.target_lang]
    shared = {"data": str(task.cfg.data), "subset": subset, "rows": sentences, "languages": languages}
    asked = [_Asked(MODEL, paths, search, shortlist) for search in searches]
    asked += [_Asked(PLAIN, paths, search) for search in searches] if shortlist else []
    if options.teacher is None:
        return CostPlan(list(_calls(asked, shared, task, engine)), options.rounds, sentences, None)
    teachers = split_paths(options.teacher)
    calls = list(_calls([_Asked(TEACHER, teachers, searches[-1]), *asked], shared, task, engine))
    hashes = [{"path": path, "sha256": file_hash(path)} for path in teachers]
    return CostPlan(calls, options.rounds, sentences, {"models": hashes, "beam": searches[-1].beam})


def _calls(
    asked: Sequence[_Asked], shared: dict[str, Any], task: TranslationTask, wished: str = "auto"
) -> Iterator[TimedCall]:
    """A call for each engine, precision, way of decoding and model that go together."""
    takes = {one.name: one.engines(task) for one in asked}
    for engine, precision in takes[MODEL]:
        if wished not in ("auto", engine):
            continue
        for batched in (False, True):
            section = f"{engine}, {precision}, {'batched' if batched else 'one by one'}"
            for one in asked:
                if (engine, precision) in takes[one.name]:
                    what = {"engine": engine, "precision": precision, "batched": batched, "search": asdict(one.search)}
                    what |= {"shortlist": str(one.shortlist)} if one.shortlist else {}
                    yield TimedCall(section, one.name, measure_cost, {"models": list(one.paths), **shared, **what})


def engines_of(
    paths: Sequence[str],
    task: TranslationTask,
    search: DecodingOptions = DecodingOptions(),  # noqa: B008
) -> list[tuple[str, str]]:
    """The engines that take the models and the search on this machine, each with each of its precisions.

    Raises:
        UserError: as :func:`choose_engine`.
    """
    engines = [] if search.lacking("fairseq") else [("fairseq", "float32")]
    if not search.lacking("ctranslate2") and choose_engine("auto", "float32", paths, task).engine == "ctranslate2":
        supported = import_ctranslate2().get_supported_compute_types(device())
        engines += [("ctranslate2", precision) for precision in PRECISIONS if precision in supported]
    return engines


def measure_costs(plan: CostPlan) -> dict[str, Any]:
    """Make the measurements.

    Returns:
        "measured" and, in "teacher", the same of the teacher: a line for each engine, precision, way of decoding and
        beam, with medians over the rounds; memory is in MiB. "times_teacher" says how many times as fast as the
        teacher the model is, the median over the rounds; "times_teacher_range" has the least and the greatest. With a
        shortlist, "without_shortlist" has the same of the model without it, and "times_without_shortlist" of "measured"
        says how many times as fast the shortlist makes it.

    Raises:
        UserError: a measurement fails.
    """
    measured: dict[str, list[dict[str, Any]]] = {MODEL: [], TEACHER: [], PLAIN: []}
    beside = {call.section for call in plan.calls if call.name == TEACHER}
    lines = table_lines(plan.calls, measure_in_turn(plan.calls, plan.rounds, "cost"))
    for call, line in zip(plan.calls, lines, strict=True):
        what = {key: call.arguments[key] for key in ("engine", "precision", "batched")}
        ratio, span = line.pop("speed"), line.pop("speed_range")
        line = {**what, "beam": call.arguments["search"]["beam"], **line}
        if call.name != TEACHER and call.section in beside:
            line |= {"times_teacher": ratio, "times_teacher_range": span}
        measured[call.name].append({key: value for key, value in line.items() if key not in ("section", "name")})
    # Both are in the same order; without a shortlist there is no plain line.
    for line, plain in zip(measured[MODEL], measured[PLAIN], strict=False):
        line["times_without_shortlist"] = plain["seconds"] / line["seconds"]
    return {
        "rounds": plan.rounds,
        "sentences": plan.sentences,
        "measured": measured[MODEL],
        **({"without_shortlist": measured[PLAIN]} if measured[PLAIN] else {}),
        "teacher": plan.teacher and {**plan.teacher, "measured": measured[TEACHER]},
    }
