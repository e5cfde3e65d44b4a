"""Files of `fairseq-kd study`, read and checked before they give advice."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fairseq_kd
from fairseq_kd.diagnose.quantities import QUANTITIES
from fairseq_kd.report.result_files import read_result
from fairseq_kd.storage.files import file_hash
from fairseq_kd.storage.shapes import Misfit, anything, keys, list_of, map_of, maybe, number, text

Study = dict[str, Any]
_SCORE = keys({"mean": number, "interval": list_of(number, 2)})
_PAIR = keys({"line": text, "other": text, "differences": list_of(_SCORE)})
_POINT = keys(
    {"at": number, "seeds": map_of(list_of(anything))},
    {"diagnosis": maybe(keys({}, dict.fromkeys(QUANTITIES, maybe(number))))},
)
_STUDIED = keys(
    {
        "title": text,
        "teacher": maybe(text),
        "axis": keys({"label": text}),
        "measures": map_of(text),
        "points": list_of(_POINT),
        "over_axis": keys(
            {
                "places": list_of(number),
                "scores": map_of(map_of(list_of(_SCORE))),
                "comparisons": map_of(list_of(_PAIR)),
            }
        ),
    },
    {"methods": map_of(keys({"data": text, "options": text}, {"texts": list_of(text)}))},
)


def published_studies() -> list[Path]:
    """The studies that lie in the clone of this package; none if it was installed without a clone."""
    return sorted(Path(fairseq_kd.__file__).parent.parent.glob("results/study_*/study.json"))


def read_studies(paths: Iterable[str | Path]) -> list[Study]:
    """The content of each file of `fairseq-kd study`, and the file's "sha256".

    Raises:
        UserError: a file is missing or damaged, or `fairseq-kd study` did not write it; the message names the key.
    """
    return [{**read_result(path, "study", studied), "sha256": file_hash(path)} for path in paths]


def decodings(study: Study) -> list[str]:
    """The keys of two measures: BLEU with the smallest and with the largest beam."""
    beams = sorted((name for name in study["measures"] if name.startswith("beam ")), key=lambda name: int(name[5:]))
    return list(dict.fromkeys([*beams[:1], *beams[-1:]]))


def lines(study: Study) -> list[str]:
    """The names of a study's lines but the teacher's."""
    scores = study["over_axis"]["scores"][decodings(study)[0]]
    return [name for name in scores if name != study["teacher"]]


def studied(value: Any, place: str) -> None:
    """What `fairseq-kd study` writes, of any version."""
    _STUDIED(value, place)
    axis, places = value["over_axis"], len(value["points"])
    for name in value["measures"]:
        if name.startswith("beam ") and not (name[5:].isascii() and name[5:].isdigit()):
            raise Misfit(f"measures: {name[:60]!r} has no beam size")
    if not places or len(axis["places"]) != places or not decodings(value):
        raise Misfit("over_axis.places: there are not as many as points, or no measure is BLEU with a beam")
    for measure in decodings(value):
        _measured(axis, measure, places)
        if not set(lines(value)) <= axis["scores"][measure].keys():
            raise Misfit(f"over_axis.scores.{measure}: a line has no scores")
    for at, point in enumerate(value["points"]):
        if not set(lines(value)) <= point["seeds"].keys():
            raise Misfit(f"points.{at}.seeds: a line has none")


def _measured(axis: dict[str, Any], measure: str, places: int) -> None:
    """Check that each line and each pair has a score at each place."""
    if measure not in axis["scores"] or measure not in axis["comparisons"]:
        raise Misfit(f"over_axis: {measure!r} has no scores")
    found = axis["scores"][measure] | {
        f"{pair['line']} − {pair['other']}": pair["differences"] for pair in axis["comparisons"][measure]
    }
    for name, each in found.items():
        if len(each) != places:
            raise Misfit(f"over_axis, {measure}, {name}: {len(each)} scores at {places} places")
