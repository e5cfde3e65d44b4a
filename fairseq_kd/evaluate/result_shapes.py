"""What the result files of `fairseq-kd evaluate` and `fairseq-kd risks` look like."""

from typing import Any

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
    truth,
    whole,
)

METRICS = ("bleu", "chrf", "ter")
MORE_METRICS = ("rouge1", "rouge2", "rougeL", "bleu1", "bleu2", "bleu3")
"""Measured by evaluate --metrics."""
RATES = ("sentences_per_second", "target_tokens_per_second")
OPTIONAL_RATE = "fairseq_sentences_per_second"
"""Measured by evaluate --compare-fairseq."""
RISKS = ("likelihood", "coverage", "likelihood_per_token", "coverage_per_token", "teacher_dist")

_SCORE = keys({"score": number, "signature": text})
_MODELS = list_of(keys({"sha256": text}))
_BEAM = keys(
    {**dict.fromkeys(METRICS, _SCORE), **dict.fromkeys(RATES, number), "hypotheses": list_of(text)},
    {"mode_mass": maybe(number_or_nan), OPTIONAL_RATE: number, **dict.fromkeys(MORE_METRICS, _SCORE)},
)
_FORCED = keys(
    {},
    {
        "accuracy": number,
        "correct": list_of(whole()),
        "tokens": list_of(whole()),
        "bleu": _SCORE,
        "entropy": maybe(number),
        "hypotheses": list_of(text),
    },
)
SEED = maybe(whole(-(2**63), 2**64))
COST_LINE = keys(
    {"engine": text, "precision": text, "batched": truth, "beam": whole(1)},
    {"sentences_per_second": number, "target_tokens_per_second": number, "memory": number, "times_teacher": number},
)
"""What one measurement of evaluate --cost gives."""
_COST = keys(
    {
        "measured": list_of(COST_LINE),
        "sentences": whole(),
        "teacher": maybe(keys({"models": _MODELS, "beam": whole(1)})),
    }
)
_EVALUATED = keys(
    {
        "name": text,
        "seed": SEED,
        "models": _MODELS,
        "parameters": whole(),
        "references": list_of(text),
        "beams": map_of(_BEAM),
        "versions": map_of(text),
        "machine": map_of(anything),
        "commit": maybe(text),
        "engine": text,
        "decoding": map_of(anything),
        "post_process": text,
        "languages": list_of(text, 2),
        "subset": text,
    },
    {
        "precision": text,
        "skipped": whole(),
        "tokenize": text,
        "lowercase": truth,
        "detokenize": text,
        "nonzero_parameters": whole(),
        "cost": _COST,
        "teacher_forced": maybe(_FORCED),
        "source_lengths": list_of(whole()),
        "more_references": list_of(list_of(maybe(text))),
        "shortlist": keys({"sha256": text}),
    },
)
_INTERVAL = keys({"mean": number, "interval": list_of(number, 2)})
MEASURED = keys(
    {
        "settings": keys(
            {
                "teacher": text,
                "model": text,
                "rows": whole(),
                "sampling": map_of(anything),
                "samples": whole(1),
                "data": map_of(text),
                "subset": text,
            }
        ),
        "risks": keys(dict.fromkeys(RISKS, _INTERVAL)),
        "bootstrap": map_of(anything),
    },
    {"skipped": whole(), "longest": whole(1)},
)
"""What `fairseq-kd risks` writes."""


def evaluated(value: Any, place: str) -> None:
    """What `fairseq-kd evaluate` writes, of any version."""
    _EVALUATED(value, place)
    rows = len(value["references"])
    if not value["beams"]:
        raise Misfit("beams: there are none")
    forced = value.get("teacher_forced") or {}
    sizes = {f"beams.{beam}.hypotheses": found["hypotheses"] for beam, found in value["beams"].items()}
    sizes |= {f"teacher_forced.{key}": forced[key] for key in ("correct", "tokens", "hypotheses") if key in forced}
    sizes |= {"source_lengths": value["source_lengths"]} if "source_lengths" in value else {}
    sizes |= {f"more_references.{number}": one for number, one in enumerate(value.get("more_references", []))}
    for name, found in sizes.items():
        if len(found) != rows:
            raise Misfit(f"{name}: there are {len(found)}, but {rows} references")
