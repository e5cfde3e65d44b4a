"""What the files of a report look like, besides those of `fairseq-kd evaluate` and `fairseq-kd risks`."""

from typing import Any

from fairseq_kd.evaluate.result_shapes import COST_LINE, METRICS, MORE_METRICS, RISKS, SEED
from fairseq_kd.storage.shapes import (
    Misfit,
    anything,
    keys,
    list_of,
    map_of,
    maybe,
    number,
    number_or_nan,
    text,
    whole,
)

OUTPUT = keys(
    {
        "row": whole(),
        "source": text,
        "reference": text,
        "beams": map_of(keys({"hypothesis": text, "chrf": number}, {"bleu": number, "comet": number})),
    }
)
"""A line of the file that `fairseq-kd evaluate --save-outputs` writes."""

_SPREAD = keys({"mean": number}, {"sd": maybe(number), "interval": number, "values": list_of(number)})
_RISK = keys({"mean": number, "interval": list_of(number, 2)}, {"sd": maybe(number)})
_BEAM = keys(
    {**dict.fromkeys(METRICS, _SPREAD), "sentences_per_second": number},
    {"delta": number, "p": number, "target_tokens_per_second": number, **dict.fromkeys(MORE_METRICS, _SPREAD)},
)
_COURSE = keys({"updates": list_of(number)}, {"mean": list_of(number), "spread": list_of(number)})
_TRAINING = keys(
    {"updates": number, "target_tokens": number, "seconds": number, "best": maybe(keys({}, {"bleu": number}))},
    {
        "seed": SEED,
        "validation": keys({"updates": list_of(number)}, {"bleu": list_of(number)}),
        "gate": keys({"mean": number, "spread": number, "course": _COURSE}),
    },
)
_ROW = keys(
    {"name": text, "parameters": number, "seeds": list_of(SEED), "beams": map_of(_BEAM)},
    {
        "shortlist": text,
        "way": keys(
            {"decoding": map_of(anything), "detokenize": text, "post_process": text},
            {"languages": list_of(text, 2)},
        ),
        "machines": list_of(keys({"processor": text, "threads": whole()}, {"gpu": text, "gpus": whole()})),
        "skipped": whole(),
        "nonzero_parameters": number,
        "mode_mass": map_of(number_or_nan),
        "engines": list_of(list_of(text, 2)),
        "cost": list_of(COST_LINE),
        "cost_of": keys({}, {"teacher_beam": maybe(whole(1)), "teacher": maybe(list_of(text))}),
        "risks": keys(dict.fromkeys(RISKS, _RISK)),
        "risks_of": list_of(keys({}, {"skipped": whole(), "longest": whole()})),
        "training": list_of(_TRAINING),
    },
)
_PAIR = keys({"row": text, "against": text, "beams": map_of(keys({"delta": number, "p": number}))})
_PAPER = keys(
    {
        "row": text,
        "beam": text,
        "measure": text,
        "paper": number,
        "measured": maybe(number),
        "difference": maybe(number),
    }
)
_SIGNATURE = keys(
    {
        "scores": map_of(text),
        "bootstrap": keys({"samples": whole(), "seed": maybe(whole())}),
        "evaluated": map_of(list_of(anything)),
        "models": map_of(list_of(keys({"sha256": list_of(text)}, {"seed": anything}))),
    },
    {
        "versions": map_of(text),
        "commit": maybe(text),
        "config": maybe(keys({"name": text, "sha256": text})),
        "risks": maybe(keys({}, {"samples": whole(), "teacher": text})),
    },
)
_TABLE = keys(
    {
        "title": text,
        "baseline": maybe(text),
        "teacher": maybe(text),
        "sentences": whole(),
        "rows": list_of(_ROW),
        "signature": _SIGNATURE,
    },
    {"pairs": list_of(_PAIR), "paper": list_of(_PAPER)},
)
_POINTS = keys({"mean": number, "interval": list_of(number, 2)})
_CROSSING = keys({"at": number, "share": number, "interval": maybe(list_of(number, 2))})
_OVER = keys(
    {
        "places": list_of(number),
        "scores": map_of(map_of(list_of(_POINTS))),
        "comparisons": map_of(list_of(keys({"line": text, "other": text}, {"crossings": list_of(_CROSSING)}))),
    }
)
_STUDY = keys(
    {
        "title": text,
        "axis": keys({"label": text}, {"scale": text}),
        "teacher": maybe(text),
        "measures": map_of(text),
        "over_axis": _OVER,
    },
    {"over_lengths": list_of(_OVER)},
)


def tabled(value: Any, place: str) -> None:
    """The table.json of `fairseq-kd table`, of any version."""
    _TABLE(value, place)
    names = [row["name"] for row in value["rows"]]
    beams = [list(row["beams"]) for row in value["rows"]]
    if not names or not beams[0] or any(one != beams[0] for one in beams) or len(set(names)) < len(names):
        raise Misfit("rows: there are none, two have one name, or they differ in their beams")
    for role in ("baseline", "teacher"):
        if value[role] is not None and value[role] not in names:
            raise Misfit(f"{role}: {value[role]!r} is no row")
    for row in value["rows"]:
        for training in row.get("training", ()):
            _alike("training.validation", training.get("validation", {"updates": []}))
            _alike("training.gate.course", training.get("gate", {}).get("course", {"updates": []}))


def _alike(place: str, course: dict[str, Any]) -> None:
    """Check that the lists of a course are as long as its updates."""
    if any(len(one) != len(course["updates"]) for one in course.values()):
        raise Misfit(f"{place}: its lists differ in length")


def studied(value: Any, place: str) -> None:
    """The study.json of `fairseq-kd study`, of any version."""
    _STUDY(value, place)
    for over in (value["over_axis"], *value.get("over_lengths", ())):
        for measure, lines in over["scores"].items():
            if any(len(line) != len(over["places"]) for line in lines.values()):
                raise Misfit(f"over_axis.scores.{measure}: a line has not as many scores as there are places")
