"""What a training was: its length, its validation scores and its gate, read from fairseq-train's log."""

import contextlib
import json
import math
import re
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError

TAGS = ("train", "train_inner", "valid")
TAGGED = re.compile(rf"\| ({'|'.join(TAGS)}) \| (.*)")
# "loss 3.2 | num_updates 3" of an epoch, "loss=3.2, num_updates=3" of an interval.
FIGURE = re.compile(r"\b([a-z]\w*)[ =]([^\s,|]+)")
# In the configuration that fairseq-train logs, or in the arguments that older versions log.
SEED = re.compile(r"\bseed'?[=:] ?(\d+)")
MEASURE = re.compile(r"\bbest_checkpoint_metric'?[=:] ?'(\w+)'")
SCORES = ("bleu", "loss", "nll_loss")
GATE = {
    "gate": "mean",
    "gate_spread": "spread",
    "gate_high": "high",
    "gate_low": "low",
    "gate_length_correlation": "length_correlation",
    "gate_entropy_correlation": "entropy_correlation",
}
"""A gate's figures: fairseq-train's name, and that of table.json."""
Figures = dict[str, float]


def read_training_log(path: str | Path) -> dict[str, Any]:
    """What table.json keeps of a training.

    Args:
        path: fairseq-train's log, in any --log-format of lines; several runs of a resumed training may lie in it.

    Returns:
        "seed" (None if the log lacks it); "updates" and "epochs"; "target_tokens" that the updates saw, of a hybrid
        gold and distilled ones, if its log counts these; "seconds" in updates, without validation; "best", the
        validation "updates" and scores of the best checkpoint (None without a validation), "by" its measure;
        "validation", the scores by "updates"; of a hybrid "gate".

    Raises:
        UserError: the log cannot be read, or has no training in it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"--training-log {path}: cannot be read ({error.strerror})") from None
    found = _lines(text)
    steps = found["train"] or found["train_inner"]  # of whole epochs, if one has ended
    if not steps:
        raise UserError(f"--training-log {path}: has no training in it; give the train.log of a fairseq-train")
    seed, measure = SEED.search(text), MEASURE.search(text)
    last = max(steps)
    made: dict[str, Any] = {
        "seed": int(seed[1]) if seed else None,
        "updates": last,
        "epochs": int(steps[last].get("epoch", 0)),
        "target_tokens": _tokens(steps),
        "seconds": round(sum(figures.get("train_wall", 0) for figures in steps.values())),
        "best": _best(found["valid"], measure[1] if measure else "loss"),
        "validation": _course(found["valid"], {name: name for name in SCORES}),
    }
    gate = _gate(found["train_inner"]) or _gate(found["train"])
    return {**made, "gate": gate} if gate else made


def _lines(text: str) -> dict[str, dict[int, Figures]]:
    """The log's figures by tag and number of updates; of updates that a resumed training made again, the later ones."""
    found: dict[str, dict[int, Figures]] = {tag: {} for tag in TAGS}
    for line in text.splitlines():
        tagged = TAGGED.search(line)
        figures = _figures(*tagged.groups()) if tagged else {}
        if tagged and "num_updates" in figures:
            updates, lines = int(figures["num_updates"]), found[tagged[1]]
            for undone in [one for one in lines if one >= updates]:
                del lines[undone]
            lines[updates] = figures
    return found


def _figures(tag: str, line: str) -> Figures:
    """The finite numbers of a line, by their names without the prefix that --log-format json gives them."""
    pairs = FIGURE.findall(line)
    if line.startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):  # a kill may have cut the line
            pairs = [(name.removeprefix(f"{tag}_"), value) for name, value in json.loads(line).items()]
    figures = {}
    for name, value in pairs:
        with contextlib.suppress(ValueError, TypeError, OverflowError):  # a word, or a list
            figures[name] = float(value)
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _tokens(steps: dict[int, Figures]) -> int:
    """Target tokens that all updates saw: the mean of each line's updates, times their number."""
    before = [0, *list(steps)[:-1]]
    # fairseq's wpb counts the data's target alone; hybrid_kd says besides what its student saw.
    means = [figures.get("seen_wpb", figures.get("wpb", 0)) for figures in steps.values()]
    return round(sum(mean * (end - start) for mean, start, end in zip(means, before, steps, strict=True)))


def _best(validations: dict[int, Figures], measure: str) -> dict[str, Any] | None:
    """The validation that the best checkpoint was saved at: the last that reached the best score, as fairseq has it."""
    if not validations:
        return None
    last = validations[max(validations)]
    # fairseq logs best_bleu, for example, from the first checkpoint on.
    measure = next((name.removeprefix("best_") for name in last if name.startswith("best_")), measure)
    reached = [one for one, figures in validations.items() if figures.get(measure) == last.get(f"best_{measure}")]
    at = reached[-1] if reached else max(validations)
    return {"by": measure, "updates": at, **{name: validations[at][name] for name in SCORES if name in validations[at]}}


def _course(lines: dict[int, Figures], names: dict[str, str]) -> dict[str, list[float]]:
    """The figures that all lines have, each as a list beside that of "updates"."""
    present = [name for name in names if lines and all(name in figures for figures in lines.values())]
    return {"updates": list(lines), **{names[name]: [one[name] for one in lines.values()] for name in present}}


def _gate(lines: dict[int, Figures]) -> dict[str, Any] | None:
    """A gate's figures at the end, and its "course"; None if there is none in these lines."""
    gated = {updates: _turned(one) for updates, one in lines.items() if {"gate", "gate_spread"} <= one.keys()}
    if not gated:
        return None
    end = gated[max(gated)]
    course = _course(gated, {name: GATE[name] for name in ("gate", "gate_spread")})
    return {**{name: end[key] for key, name in GATE.items() if key in end}, "course": course}


def _turned(figures: Figures) -> Figures:
    """A line's figures with g as the share of the token-level loss.

    It was that of the sentence-level loss in earlier versions, which did not log seen_wpb.
    """
    if "seen_wpb" in figures:
        return figures
    turned = {**figures, "gate": round(1 - figures["gate"], 6)}
    for name, other in (("gate_high", "gate_low"), ("gate_low", "gate_high")):
        if other in figures:
            turned[name] = figures[other]
    return turned | {name: -value for name, value in figures.items() if name.endswith("_correlation")}
