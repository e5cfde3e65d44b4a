"""Result files of `fairseq-kd evaluate` and `fairseq-kd risks`, read, checked and grouped into a table's rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.result_shapes import MEASURED, METRICS, MORE_METRICS, evaluated
from fairseq_kd.report.ways import check_way
from fairseq_kd.storage.settings import differences
from fairseq_kd.storage.shapes import Shape
from fairseq_kd.storage.structured import Unreadable, read_json

# These may differ between the files of one table, and are recorded.
EVALUATED = (
    "versions", "machine", "commit", "engine", "precision",
    "decoding", "post_process", "detokenize", "languages", "subset",
)  # fmt: skip
CASELESS = "BLEU and chrF take upper and lower case as the same (evaluate --lowercase)."
"""What tables say of scores for which :func:`caseless` is true."""
Result = dict[str, Any]


@dataclass
class Row:
    """One row of a table: the results of one name, which differ by their training seeds.

    Attributes:
        name: of all the results.
        results: what `fairseq-kd evaluate` wrote, in the order given.
        risks: what `fairseq-kd risks` wrote of the same models, in the same order; empty without --risks.
    """

    name: str
    results: list[Result]
    risks: list[Result] = field(default_factory=list)


def read_result(path: str | Path, verb: str, shape: Shape) -> Result:
    """The content of a file that ``verb`` wrote.

    Args:
        path: the file.
        verb: of `fairseq-kd`.
        shape: of what it writes.

    Raises:
        UserError: the file is missing, damaged or too large, or ``verb`` did not write it; the message names the key.
    """
    try:
        return read_json(path, shape)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give a file that fairseq-kd {verb} wrote"
        ) from None
    except Unreadable as error:
        raise UserError(
            f"{path}: no result of fairseq-kd {verb}: {error}; give the JSON it wrote with --output"
        ) from None


def read_evaluated(path: str | Path) -> Result:
    """What `fairseq-kd evaluate` wrote, with the values that earlier versions left out.

    Raises:
        UserError: as :func:`read_result`.
    """
    absent = {"precision": "float32", "tokenize": "13a", "lowercase": False, "detokenize": "none"}
    return {**absent, "more_references": [], **read_result(path, "evaluate", evaluated)}


def group_results(paths: Sequence[str | Path]) -> list[Row]:
    """The rows of a table, in the order in which their names first occur.

    Args:
        paths: files of `fairseq-kd evaluate`.

    Raises:
        UserError: a file has other references, beams or kinds of scores than the first, repeats a name and seed, or
            differs from its name's other files in the model's size, the shortlist or the way of decoding.
    """
    rows: dict[str, Row] = {}
    first: Result = {}
    for path in paths:
        result = read_evaluated(path)
        first = first or result
        for what in ("references", "more_references", "beams"):
            if list(result[what]) != list(first[what]):
                raise UserError(f"{path}: its {what} differ from those of {paths[0]}; evaluate both in the same way")
        if found := _first_difference(signatures(result), signatures(first)):
            raise UserError(f"{path}: scored in another way than {paths[0]} ({found}); evaluate it again")
        row = rows.setdefault(result["name"], Row(result["name"], []))
        if result["seed"] in [other["seed"] for other in row.results]:
            raise UserError(
                f"{path}: a second {result['name']!r} with seed {result['seed']}; give --name or --seed to evaluate"
            )
        if row.results and result["parameters"] != row.results[0]["parameters"]:
            raise UserError(
                f"{path}: its model has another size than the other {result['name']!r}; give --name to evaluate"
            )
        if row.results and shortlist_of(result) != shortlist_of(row.results[0]):
            raise UserError(
                f"{path}: decoded with another --shortlist than the other {result['name']!r}, or only one of them with "
                "a shortlist; give --name to evaluate"
            )
        if row.results:
            check_way(path, result, row.results[0])
        row.results.append(result)
    return list(rows.values())


def _first_difference(own: dict[str, str], other: dict[str, str]) -> str | None:
    """The first signature that two results do not share, in words; None if they share all."""
    for metric in dict.fromkeys((*own, *other)):
        one, two = own.get(metric), other.get(metric)
        if one != two:
            return f"{metric}: {one or 'not measured'}, there {two or 'not measured'}"
    return None


def caseless(scores: dict[str, str]) -> bool:
    """Whether the signatures of scores say that BLEU takes upper and lower case as the same."""
    return "case:lc" in scores.get("bleu", "").split("|")


def shortlist_of(result: Result) -> str | None:
    """The SHA-256 of the lexical shortlist that a result was decoded with; None without one."""
    return result["shortlist"]["sha256"] if "shortlist" in result else None


def signatures(result: Result) -> dict[str, str]:
    """The signatures of a result's scores; they are the same for each beam."""
    beam = next(iter(result["beams"].values()))
    return {metric: beam[metric]["signature"] for metric in (*METRICS, *MORE_METRICS) if metric in beam}


def read_risks(paths: Sequence[str | Path], sentences: int, subsets: Sequence[str]) -> dict[str, Result]:
    """Results of `fairseq-kd risks`, by the SHA-256 of the student's checkpoint.

    Args:
        paths: the files.
        sentences: how many the test set of the scores has.
        subsets: the names of the split that the scores are of.

    Raises:
        UserError: a file has another teacher, data or samples than the first, another number of sentences or subset
            than the scores, or the same student as an earlier file.
    """
    found: dict[str, Result] = {}
    first: Result = {}
    for path in paths:
        one = read_result(path, "risks", MEASURED)
        settings = measured_with(one)
        first = first or settings
        if settings != first:
            what = differences(first, settings)
            raise UserError(f"{path}: measured in another way than {paths[0]} ({what}); measure both in the same way")
        if settings["rows"] != sentences:
            raise UserError(
                f"{path}: measured on {settings['rows']} rows, but the scores are of {sentences}; measure both on one "
                "--subset"
            )
        if settings["subset"] not in subsets:
            known = " and ".join(map(repr, subsets))
            raise UserError(
                f"{path}: measured on the subset {settings['subset']!r}, but the scores are of {known}; measure both "
                "on one --subset"
            )
        if one["settings"]["model"] in found:
            raise UserError(f"{path}: another file has the same model's risks; leave out one of the two")
        found[one["settings"]["model"]] = {**one, "path": path}
    return found


def measured_with(risks: Result) -> dict[str, Any]:
    """The settings that two students' risks must share to be comparable."""
    return {key: value for key, value in risks["settings"].items() if key != "model"}


def add_risks(rows: Sequence[Row], found: dict[str, Result]) -> None:
    """Give each row the risks of its models.

    Args:
        rows: their ``risks`` are set.
        found: as :func:`read_risks` gives it.

    Raises:
        UserError: only some models of a row have risks, or there are risks of a model that no row has.
    """
    used = set()
    for row in rows:
        hashes = [":".join(model["sha256"] for model in result["models"]) for result in row.results]
        missing = [str(result["seed"]) for result, one in zip(row.results, hashes, strict=True) if one not in found]
        if not missing:
            row.risks = [found[one] for one in hashes]
            used.update(hashes)
        elif len(missing) < len(hashes):
            raise UserError(f"{row.name!r}: no risks of seed {', '.join(missing)}; run fairseq-kd risks for it")
    for one in found.keys() - used:
        raise UserError(f"{found[one]['path']}: no row has this model; give its fairseq-kd evaluate file too")


def distinct(values: Sequence[Any]) -> list[Any]:
    """``values`` without repetitions, in their order; they need not be hashable."""
    return [value for number, value in enumerate(values) if value not in values[:number]]
