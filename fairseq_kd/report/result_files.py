"""The rows of a table: what `fairseq-kd evaluate` and `fairseq-kd risks` wrote, read and put together."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.storage.settings import differences

METRICS = ("bleu", "chrf", "ter")
# what may differ between the files of one table, and is recorded
EVALUATED = ("versions", "machine", "commit", "engine", "precision", "decoding", "post_process", "languages", "subset")
RATES = ("sentences_per_second", "target_tokens_per_second")
# measured where evaluate was given --compare-fairseq
OPTIONAL_RATE = "fairseq_sentences_per_second"
RISKS = ("likelihood", "coverage", "likelihood_per_token", "coverage_per_token", "teacher_dist")
Run = dict[str, Any]


@dataclass
class Row:
    """The runs of one name, which differ by their seeds, in the order given.

    Attributes:
        name: of all of them.
        runs: what `fairseq-kd evaluate` wrote of each.
        risks: what `fairseq-kd risks` wrote of each, in the same order, or nothing.
    """

    name: str
    runs: list[Run]
    risks: list[Run] = field(default_factory=list)


def read_result(path: str, verb: str, check: Callable[[Run], None]) -> Run:
    """A file of the ``verb``, which ``check`` finds whole or else raises ValueError or KeyError.

    Raises:
        UserError: missing, or not such a file.
    """
    try:
        result = json.loads(Path(path).read_bytes())
        check(result)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give a file that fairseq-kd {verb} wrote"
        ) from None
    except (ValueError, AttributeError, TypeError, KeyError):
        raise UserError(f"{path}: no result of fairseq-kd {verb}; give the JSON it wrote with --output") from None
    return result


def check_run(run: Run) -> None:
    """Raise an error unless ``run`` is what `fairseq-kd evaluate` writes."""
    # Files from before there was a choice do not say it.
    run.setdefault("precision", "float32")
    complete = {"name", "seed", "models", "parameters", "references", *EVALUATED} <= run.keys()
    figures = {*METRICS, *RATES, "hypotheses"}
    if not complete or not run["beams"] or not all(figures <= beam.keys() for beam in run["beams"].values()):
        raise KeyError
    if any(len(beam["hypotheses"]) != len(run["references"]) for beam in run["beams"].values()):
        raise ValueError


def check_risks(found: Run) -> None:
    """Raise an error unless ``found`` is what `fairseq-kd risks` writes."""
    complete = {"teacher", "model", "rows", "sampling"} <= found["settings"].keys() and "bootstrap" in found
    if not complete or not all({"mean", "interval"} <= found["risks"][name].keys() for name in RISKS):
        raise KeyError


def group_runs(paths: Sequence[str]) -> list[Row]:
    """The rows of the table, in the order in which their names first come.

    Raises:
        UserError: a file has other references, beams or scores than the first, or repeats a name and seed.
    """
    rows: dict[str, Row] = {}
    first: Run = {}
    for path in paths:
        run = read_result(path, "evaluate", check_run)
        first = first or run
        for what in ("references", "beams"):
            if list(run[what]) != list(first[what]):
                raise UserError(f"{path}: its {what} differ from those of {paths[0]}; evaluate both in the same way")
        if signatures(run) != signatures(first):
            raise UserError(
                f"{path}: scored otherwise than {paths[0]} (sacreBLEU signatures differ); evaluate it again"
            )
        row = rows.setdefault(run["name"], Row(run["name"], []))
        if run["seed"] in [other["seed"] for other in row.runs]:
            raise UserError(
                f"{path}: a second {run['name']!r} with seed {run['seed']}; give --name or --seed to evaluate"
            )
        if row.runs and run["parameters"] != row.runs[0]["parameters"]:
            raise UserError(f"{path}: not of the size of the other {run['name']!r}; give --name to evaluate")
        row.runs.append(run)
    return list(rows.values())


def signatures(run: Run) -> dict[str, str]:
    """sacreBLEU's signatures of a run's scores, which are the same at each beam."""
    beam = next(iter(run["beams"].values()))
    return {metric: beam[metric]["signature"] for metric in METRICS}


def read_risks(paths: Sequence[str], sentences: int) -> dict[str, Run]:
    """The risks that were measured, by the SHA-256 of the student's checkpoint.

    Raises:
        UserError: a file is of another teacher, data or samples than the first, of a test set without so many
            ``sentences``, or of a model that an earlier one is of.
    """
    found: dict[str, Run] = {}
    first: Run = {}
    for path in paths:
        one = read_result(path, "risks", check_risks)
        settings = measured_with(one)
        first = first or settings
        if settings != first:
            what = differences(first, settings)
            raise UserError(f"{path}: measured otherwise than {paths[0]} ({what}); measure both in the same way")
        if settings["rows"] != sentences:
            raise UserError(f"{path}: measured on {settings['rows']} rows, the scores are of {sentences}")
        if one["settings"]["model"] in found:
            raise UserError(f"{path}: of a model whose risks another file has; leave out one of them")
        found[one["settings"]["model"]] = {**one, "path": path}
    return found


def measured_with(risks: Run) -> dict[str, Any]:
    """All that makes one student's risks comparable to another's."""
    return {key: value for key, value in risks["settings"].items() if key != "model"}


def add_risks(rows: Sequence[Row], found: dict[str, Run]) -> None:
    """Give each row the risks of its runs, known by their checkpoints' SHA-256.

    Raises:
        UserError: only some of a row's runs have theirs, or there are risks of a model that no row has.
    """
    used = set()
    for row in rows:
        hashes = [":".join(model["sha256"] for model in run["models"]) for run in row.runs]
        missing = [str(run["seed"]) for run, one in zip(row.runs, hashes, strict=True) if one not in found]
        if not missing:
            row.risks = [found[one] for one in hashes]
            used.update(hashes)
        elif len(missing) < len(hashes):
            raise UserError(f"{row.name!r}: no risks of seed {', '.join(missing)}; run fairseq-kd risks for it")
    for one in found.keys() - used:
        raise UserError(f"{found[one]['path']}: of a model that no row has; give its fairseq-kd evaluate file too")
