"""A study as Markdown."""

from collections.abc import Iterator
from typing import Any

from fairseq_kd.report.crossings import span_in_words
from fairseq_kd.report.result_files import CASELESS, caseless
from fairseq_kd.report.table_line import table_line
from fairseq_kd.report.ways import several_ways
from fairseq_kd.study.curves import FORCED_BLEU
from fairseq_kd.study.resampling import directions


def markdown(study: dict[str, Any]) -> str:
    """study.json's content as text: the scores at each place, where lines cross, and notes."""
    measures = study["measures"]
    header = [study["axis"]["label"], "row", "parameters (M)", *measures.values()]
    lines = [f"# {study['title']}", "", table_line(header), table_line(["---:", "---", *["---:"] * (len(header) - 2)])]
    scores = study["over_axis"]["scores"]
    for number, point in enumerate(study["points"]):
        for name, parameters in point["parameters"].items():
            cells = [f"{point['at']:g}", name, f"{parameters / 1e6:.2f}"]
            lines.append(table_line([*cells, *(_score(scores[measure][name][number]) for measure in measures)]))
    lines += ["", f"## Where lines cross, over: {study['axis']['label']}", ""]
    lines += _crossings(study["over_axis"], measures)
    lines += ["", "## Where lines cross, over the source's length (subwords)", ""]
    for point in study["over_lengths"]:
        crossed = [line for line in _crossings(point, measures) if " cross at " in line]
        lines += [f"- At {point['at']:g}: {'' if crossed else 'nowhere.'}".rstrip(), *(f"  {line}" for line in crossed)]
    return "\n".join([*lines, "", *(f"- {note}" for note in _notes(study))]) + "\n"


def _score(score: dict[str, Any]) -> str:
    low, high = score["interval"]
    return f"{score['mean']:.2f} ({low:.2f} to {high:.2f})"


def _crossings(axis: dict[str, Any], measures: dict[str, str]) -> list[str]:
    """A sentence for each measure and pair of lines."""
    sentences = []
    for measure, label in measures.items():
        for pair in axis["comparisons"][measure]:
            who = f"{pair['line']} and {pair['other']}"
            where = "; ".join(_where(pair, axis["places"]))
            sentences.append(f"- {label}: {who} {where or _apart(pair)}.")
    return sentences or ["- There is only one line."]


def _where(pair: dict[str, Any], places: list[float]) -> Iterator[str]:
    """Each crossing of a pair in words."""
    rising = directions(difference["mean"] for difference in pair["differences"])
    for crossing, up in zip(pair["crossings"], rising, strict=False):
        above, ends = pair["line" if up else "other"], crossing["interval"]
        span = f"95 %: {span_in_words(ends, places)}; " if ends else ""
        clear = "clear" if crossing["clear"] else "not clear"
        share = f"in {100 * crossing['share']:.0f} % of the resamples"
        yield f"cross at {crossing['at']:.3g} ({span}{share}; {clear}), {above} is above beyond"


def _apart(pair: dict[str, Any]) -> str:
    means = [difference["mean"] for difference in pair["differences"]]
    if not any(means):
        return "are the same"
    clear = sum(difference["interval"][0] > 0 or difference["interval"][1] < 0 for difference in pair["differences"])
    above = pair["line"] if sum(means) > 0 else pair["other"]
    return f"do not cross, {above} is above (clear at {clear} of {len(means)} places)"


def _notes(study: dict[str, Any]) -> list[str]:
    made, points = study["signature"], study["points"]
    seeds = sorted({len(own) for point in points for own in point["seeds"].values()})
    notes = [
        f"In brackets 95 % intervals: percentiles of {made['bootstrap']['samples']} resamples of the test sentences "
        f"(seed {made['bootstrap']['seed']}), the same for all rows"
        + (_of_seeds(made["bootstrap"]) if seeds[-1] > 1 else "; they leave out how much training seeds differ")
        + ".",
        f"Sentences: {', '.join(str(point['sentences']) for point in points)}. "
        f"Runs a row: {', '.join(map(str, seeds))}.",
        "A difference is clear if its 95 % interval excludes zero. A crossing is clear if the difference is clear at a "
        "place on either side of it. ≤ and ≥ stand where an interval holds what lies beyond the axis.",
        "Lines are straight between places, on a "
        + ("logarithmic axis." if study["axis"]["scale"] == "log" else "linear axis."),
        f"BLEU: `{made['scores']['bleu']}`. Teacher-forced accuracy: the share of target tokens (`</s>` counted) that "
        "are the likeliest after the gold target so far.",
    ]
    notes += several_ways(made.get("evaluated", {}))
    notes += [CASELESS] if caseless(made["scores"]) else []
    if FORCED_BLEU in study["measures"]:
        notes.append("Teacher-forced BLEU: of these likeliest tokens, one for each gold token, without `</s>`.")
    notes.append(f"Commit: {made['commit'] or 'not known'}.")
    if made["config"]:
        notes.append(f"Configuration: {made['config']['name']}, SHA-256 {made['config']['sha256'][:12]}….")
    return notes


def _of_seeds(bootstrap: dict[str, Any]) -> str:
    enlarged = ", with deviations enlarged by √(n / (n − 1)) for n seeds" if bootstrap.get("enlarged") else ""
    return f", and of the training seeds{enlarged}"
