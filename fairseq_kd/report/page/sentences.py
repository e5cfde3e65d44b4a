"""The sentences of a test set with each row's translations, and which words of them are looked at in the page."""

import math
from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics import CHRF

from fairseq_kd.data.text.same_text import UNKNOWN, same_text
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.result_shapes import METRICS
from fairseq_kd.evaluate.scoring.scores import Streams
from fairseq_kd.report.page.files import Given, Outputs
from fairseq_kd.report.result_files import Result, Row, group_results

Sentences = dict[str, Any]


def read_sentences(given: Given, table: dict[str, Any] | None) -> Sentences | None:
    """The texts that the page shows side by side; None if no file of `fairseq-kd evaluate` was given.

    Args:
        given: the files. Each file of --save-outputs belongs to the result whose translations it has.
        table: the content of table.json; there is one where there are files of `fairseq-kd evaluate`.

    Returns:
        "source" (None without a file of --save-outputs), "reference" and "languages"; "results", the "row" (a position
        in the table) and "seed" of each; and by beam "texts", shape (sentences, results), and "chrf", shape (results,
        sentences), in percent.

    Raises:
        UserError: a result is of no row of the table or has other scores than its row, a file of --save-outputs belongs
            to no result, or two of them have other sources.
    """
    if table is None or not given.paths["evaluate"]:
        if given.outputs:
            raise UserError(
                f"{given.outputs[0].path}: belongs to no result; give the JSON that the same fairseq-kd evaluate wrote "
                "with --output too"
            )
        return None
    rows = group_results(given.paths["evaluate"])
    names = [row["name"] for row in table["rows"]]
    if given.table is not None:
        _check_rows(rows, given.table)
    results = [(names.index(row.name), result) for row in rows for result in row.results]
    found = _outputs_of([result for _, result in results], given.outputs)
    first = results[0][1]
    chrf = SentenceChrf(first["references"], first["more_references"], first["lowercase"])
    # Of several references, files of --save-outputs of earlier versions have scores against the first alone. Such a
    # file does not say whether its scores tell upper from lower case.
    scored = [None if first["more_references"] or first["lowercase"] else one for one in found]
    return {
        "source": _sources(given.outputs),
        "reference": first["references"],
        "languages": first["languages"],
        "results": [{"row": row, "seed": result["seed"]} for row, result in results],
        "beams": {
            beam: {
                "texts": list(zip(*(result["beams"][beam]["hypotheses"] for _, result in results), strict=True)),
                "chrf": [
                    _saved(one, beam) if one else chrf.scores(result["beams"][beam]["hypotheses"])
                    for (_, result), one in zip(results, scored, strict=True)
                ],
            }
            for beam in first["beams"]
        },
    }


def _check_rows(rows: Sequence[Row], table: dict[str, Any]) -> None:
    """Raise a UserError unless each result's model is one of the row of its name, with the same scores."""
    models, shown = table["signature"]["models"], {one["name"]: one for one in table["rows"]}
    for row in rows:
        known = [one["sha256"] for one in models.get(row.name, []) if row.name in shown]
        for result in row.results:
            hashes = [model["sha256"] for model in result["models"]]
            found = "the table does not have this model"
            if hashes in known:
                found = _other_scores(result, shown[row.name]["beams"], known.index(hashes))
            if found:
                seed = "" if result["seed"] is None else f", seed {result['seed']}"
                raise UserError(
                    f"{row.name!r}{seed}: {found}; make the table again with fairseq-kd table, or leave out table.json"
                )


def _other_scores(result: Result, shown: dict[str, Any], place: int) -> str:
    """Which score of a result differs from that in its table, in words; "" where none does.

    A model that was evaluated again, in another way, has the same hash and other translations than those of the table.

    Args:
        result: of one seed.
        shown: what table.json has of its row, by beam.
        place: of the seed among those of the row.
    """
    if list(shown) != list(result["beams"]):
        return "the table has other beams"
    for beam, scores in result["beams"].items():
        for metric in METRICS:
            own, values = scores[metric]["score"], shown[beam][metric].get("values", [])
            if place < len(values) and not math.isclose(own, values[place], abs_tol=1e-6):
                return f"its {metric} with beam {beam} is {own:.2f}, but {values[place]:.2f} in the table"
    return ""


def _outputs_of(results: Sequence[Result], outputs: Sequence[Outputs]) -> list[Outputs | None]:
    """The file of --save-outputs that belongs to each result; None where none does.

    Raises:
        UserError: a file belongs to no result.
    """
    found: list[Outputs | None] = [None] * len(results)
    for one in outputs:
        belongs = [place for place, result in enumerate(results) if _belongs(one, result)]
        if not belongs:
            raise UserError(
                f"{one.path}: has other translations than each result given; give the JSON that the same fairseq-kd "
                "evaluate wrote with --output too"
            )
        for place in belongs:
            found[place] = one
    return found


def _belongs(one: Outputs, result: Result) -> bool:
    same = [line["reference"] for line in one.lines] == result["references"]
    beams = one.lines[0]["beams"].keys() == result["beams"].keys()
    return same and beams and all(one.hypotheses(beam) == made["hypotheses"] for beam, made in result["beams"].items())


def _sources(outputs: Sequence[Outputs]) -> list[str] | None:
    if not outputs:
        return None
    first, *others = ([line["source"] for line in one.lines] for one in outputs)
    for one, other in zip(outputs[1:], others, strict=True):
        # Text in other subwords has its unknown symbols at other places.
        if not all(map(same_text, first, other)):
            raise UserError(f"{one.path}: has other sources than {outputs[0].path}; evaluate both on one data-bin")
        first = [min(pair, key=lambda text: text.count(UNKNOWN)) for pair in zip(first, other, strict=True)]
    return first


def _saved(outputs: Outputs, beam: str) -> list[float]:
    """Each sentence's chrF in percent, as --save-outputs wrote it."""
    return [round(line["beams"][beam]["chrf"], 1) for line in outputs.lines]


class SentenceChrf:
    """sacreBLEU's chrF of single sentences against fixed references.

    ``CHRF.sentence_score`` counts the reference's n-grams anew for each translation; here they are counted once.
    """

    def __init__(self, references: Sequence[str], more: Streams, lowercase: bool):
        self._metric = CHRF(lowercase=lowercase)
        streams: Any = [list(references), *map(list, more)]
        self._references = self._metric._cache_references(streams)

    def scores(self, lines: Sequence[str]) -> list[float]:
        """Each line's score in percent, to one digit."""
        count, clean = self._metric._compute_segment_statistics, self._metric._preprocess_segment
        found = (count(clean(line), reference) for line, reference in zip(lines, self._references, strict=True))
        return [round(self._metric._compute_score_from_stats(one).score, 1) for one in found]
