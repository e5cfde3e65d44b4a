"""What a paper's figures look like in an experiment's YAML."""

from collections.abc import Mapping, Sequence
from typing import Any

from fairseq_kd.evaluate.result_shapes import METRICS, MORE_METRICS, RISKS
from fairseq_kd.storage.shapes import misfit, number

FORCED, OF_SAMPLES = "teacher_forced", "risks"
"""The keys beside beam sizes."""


def paper(value: Any, place: str) -> None:
    """Figures of one row: by beam size, and perhaps under "teacher_forced" and "risks", a number for each measure."""
    if not isinstance(value, Mapping):
        raise misfit(place, "give a mapping from beam sizes to figures, such as 5: {bleu: 34.5}")
    for beam, figures in value.items():
        _figures(figures, f"{place}.{beam}", _measures(beam, f"{place}.{beam}"))


def _measures(beam: Any, place: str) -> Sequence[str]:
    """What can be measured under a key."""
    if beam == FORCED:
        return ("bleu",)
    if beam == OF_SAMPLES:
        return RISKS
    if not isinstance(beam, int) or isinstance(beam, bool) or beam < 1:
        raise misfit(place, f"is no beam size; give a whole number from 1 on, {FORCED} or {OF_SAMPLES}")
    return (*METRICS, *MORE_METRICS)


def _figures(value: Any, place: str, measures: Sequence[str]) -> None:
    if not isinstance(value, Mapping) or not value:
        raise misfit(place, f"give a mapping from {', '.join(measures)} to a number")
    for measure, figure in value.items():
        if measure not in measures:
            raise misfit(f"{place}.{measure}", f"is no measure; give {', '.join(measures)}")
        number(figure, f"{place}.{measure}")
