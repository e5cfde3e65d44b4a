"""A table's rows compared in BLEU, each with its baseline and with any other, by paired bootstrap."""

import statistics
from collections.abc import Sequence
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scoring.bootstrap import Bootstrap, Resampled, p_over_seeds
from fairseq_kd.evaluate.scoring.scores import Streams
from fairseq_kd.report.result_files import Result, Row
from fairseq_kd.report.table_line import table_head, table_line

PAIRED = "sacreBLEU's paired bootstrap"
Pair = tuple[Result, Result]
"""A row's result, and the other row's result that it is compared with."""


def pair_results(row: Row, other: Row) -> list[Pair]:
    """The results to compare: those of equal seeds, or all pairs if one of the two rows has a single result.

    Seeds that only one of two rows with several results has are left out; with no seed in common there is no pair.
    """
    if len(row.results) == 1 or len(other.results) == 1:
        return [(result, one) for result in row.results for one in other.results]
    by_seed = {one["seed"]: one for one in other.results}
    return [(result, by_seed[result["seed"]]) for result in row.results if result["seed"] in by_seed]


def check_seeds(rows: Sequence[Row], baseline: Row) -> None:
    """Check that the baseline has a result for each result of each row.

    Raises:
        UserError: a row and the baseline have several results, and the baseline lacks one of the row's seeds.
    """
    seeds = [one["seed"] for one in baseline.results]
    for row in rows:
        missing = [result["seed"] for result in row.results if result["seed"] not in seeds]
        if missing and len(row.results) > 1 and len(seeds) > 1:
            raise UserError(
                f"{row.name!r} has seed {missing[0]}, but the baseline {baseline.name!r} does not; evaluate the "
                "baseline with that seed too"
            )


class Comparison:
    """Resamples each result of a table once and compares it with any other.

    Args:
        references: detokenised lines of the test set.
        tokenize: sacreBLEU's tokenizer that made the scores.
        more: further references.
        lowercase: whether upper and lower case are the same.

    Raises:
        UserError: the tokenizer lacks a package or its model.
    """

    def __init__(self, references: Sequence[str], tokenize: str, more: Streams, lowercase: bool):
        self._bootstrap = Bootstrap(references, tokenize, more, lowercase)
        self._resampled: dict[tuple[Any, ...], Resampled] = {}

    def resampled(self, result: Result, beam: str) -> Resampled:
        """A result's BLEU on all resamples, computed when it is first asked for."""
        key = result["name"], result["seed"], beam
        if key not in self._resampled:
            self._resampled[key] = self._bootstrap.resample(result["beams"][beam]["hypotheses"])
        return self._resampled[key]

    def compare(self, pairs: Sequence[Pair], beam: str) -> dict[str, Any]:
        """The mean difference in BLEU "delta", its "p" over sentences and seeds, and the "p_values" of the pairs."""
        resampled = [[self.resampled(one, beam) for one in pair] for pair in pairs]
        p_values = [one.p_value(other) for one, other in resampled]
        scores = [[one["beams"][beam]["bleu"]["score"] for one in pair] for pair in pairs]
        delta = statistics.fmean(one - other for one, other in scores)
        # A result of several pairs is one training.
        one, other = ({id(found): found for found in side}.values() for side in zip(*resampled, strict=True))
        p = p_over_seeds(list(one), list(other)) if len(pairs) > 1 else p_values[0]
        return {"delta": delta, "p": p, "p_values": p_values}

    def all_pairs(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Every two rows: "row", the earlier row that it is held "against", and by beam what :meth:`compare` gives.

        Two rows without a seed in common are left out.
        """
        found = []
        for number, row in enumerate(rows):
            for other in rows[:number]:
                if pairs := pair_results(row, other):
                    beams = {beam: self.compare(pairs, beam) for beam in row.results[0]["beams"]}
                    found.append({"row": row.name, "against": other.name, "beams": beams})
        return found


def pairs_section(table: dict[str, Any]) -> list[str]:
    """For each beam a triangle of p-values between the rows; empty for tables of two rows, or made before these."""
    names = [row["name"] for row in table["rows"]]
    if len(names) < 3 or "pairs" not in table:
        return []
    lines = ["", "## p between any two rows", ""]
    for beam in table["rows"][0]["beams"]:
        p = {(pair["row"], pair["against"]): f"{pair['beams'][beam]['p']:.3f}" for pair in table["pairs"]}
        header = [f"beam {beam}", *map(str, range(1, len(names)))]
        lines += table_head(header)
        for number, name in enumerate(names):
            cells = [p.get((name, other), "–") if other in names[:number] else "" for other in names[:-1]]
            lines.append(table_line([f"{number + 1}. {name}", *cells]))
        lines.append("")
    several = any(len(row["seeds"]) > 1 for row in table["rows"])
    bootstrap = table["signature"]["bootstrap"]
    note = (
        f"- p of the difference in BLEU, from {'a bootstrap over sentences and seeds' if several else PAIRED} "
        f"({bootstrap['samples']} resamples, seed {bootstrap['seed']})"
    )
    return [*lines, f"{note}. The differences are in table.json under `pairs`."]
