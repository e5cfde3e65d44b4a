"""What made the figures of a report, as pairs of a label and a text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairseq_kd.evaluate.result_shapes import METRICS
from fairseq_kd.report.comparison import PAIRED
from fairseq_kd.report.paper_figures import SHOWN
from fairseq_kd.storage.files import file_hash

Facts = list[tuple[str, str]]


def table_facts(table: dict[str, Any]) -> Facts:
    """What made a table and the results in it.

    Args:
        table: table.json's content.
    """
    signature = table["signature"]
    bootstrap, scores = signature["bootstrap"], signature["scores"]
    test = f"{PAIRED}, {bootstrap['samples']:,} resamples, seed {bootstrap['seed']}"
    facts = [("sentences", f"{table['sentences']:,}"), *_evaluated(signature["evaluated"])]
    facts += [(f"signature of {SHOWN[key]}", scores[key]) for key in METRICS if key in scores]
    several = any(len(row.get("seeds", ())) > 1 for row in table["rows"])
    drawn = "; p draws sentences and seeds together" if several else ""
    facts.append(("intervals and p", f"{test}{drawn}; p is not corrected for the number of comparisons"))
    if signature.get("risks"):
        facts.append(("risks", f"{signature['risks'].get('samples', '?')} samples of each model and source"))
    facts += _made("table", signature)
    for row in table["rows"]:
        models = signature["models"].get(row["name"], [])
        hashes = (f"seed {one.get('seed')}: " + ", ".join(sha[:12] for sha in one["sha256"]) for one in models)
        facts.append((f"checkpoints of {row['name']} (SHA-256)", "; ".join(hashes) or "not recorded"))
        if "shortlist" in row:
            facts.append((f"shortlist of {row['name']} (SHA-256)", row["shortlist"][:12]))
    return facts


def study_facts(study: dict[str, Any]) -> Facts:
    """What made a study; files of earlier versions record less.

    Args:
        study: study.json's content.
    """
    signature = study.get("signature")
    facts = _made("study", signature) if isinstance(signature, dict) else []
    scores = signature.get("scores") if isinstance(signature, dict) else None
    if isinstance(scores, dict) and "bleu" in scores:
        facts.append(("signature of BLEU in the study", str(scores["bleu"])))
    return [(f"{label} “{study['title']}”", text) for label, text in facts]


def file_facts(files: Sequence[str | Path]) -> Facts:
    """The names of the files, without their folders, and their SHA-256."""
    return [("file", f"{Path(path).name}, SHA-256 {file_hash(path)[:12]}") for path in files]


_EVALUATED = {
    "languages": "languages",
    "subset": "subset",
    "engine": "decoded by",
    "precision": "precision",
    "decoding": "decoding",
    "post_process": "subwords joined as",
    "detokenize": "text detokenised by",
    "machine": "machine",
    "versions": "versions",
    "commit": "commit of evaluate",
}


def _evaluated(found: dict[str, list[Any]]) -> Facts:
    """Under which conditions the rows were evaluated; several values are all named."""
    shown = {label: "; ".join(map(_words, found[key])) for key, label in _EVALUATED.items() if found.get(key)}
    return list(shown.items())


def _made(what: str, signature: dict[str, Any]) -> Facts:
    """The commit and the configuration that a file records."""
    facts = [(f"commit of the {what}", str(signature.get("commit") or "not known"))]
    config = signature.get("config")
    if isinstance(config, dict):
        facts.append(
            (f"configuration of the {what}", f"{config.get('name')}, SHA-256 {str(config.get('sha256'))[:12]}")
        )
    return facts


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return "→".join(map(str, value)) if isinstance(value, list) else str(value)
