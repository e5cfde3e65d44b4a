"""Results as `fairseq-kd evaluate` writes them, made by hand."""

from typing import Any

from fairseq_kd.evaluate.scoring.scores import score_text

REFERENCES = [f"The quick brown fox number {row} jumps over the lazy dog, again and again." for row in range(30)]
BAD = [line.replace("quick", "slow").replace("jumps over", "jumps about") for line in REFERENCES]


def spoil(lines: list[str], every: int) -> list[str]:
    """``lines`` with one word changed in each ``every``-th."""
    return [line.replace("lazy", "sleepy") if row % every == 0 else line for row, line in enumerate(lines)]


def result(name: str, seed: int | None, hypotheses: list[str], **changes: Any) -> dict[str, Any]:
    """What `fairseq-kd evaluate` would write, with beams 1 and 5 that answer alike."""
    beam = {"sentences": 30, "seconds": 1.0, "sentences_per_second": 30.0, "target_tokens_per_second": 300.0}
    beam |= score_text(hypotheses, REFERENCES) | {"hypotheses": hypotheses}
    return {
        "name": name,
        "seed": seed,
        "models": [{"path": "/secret/place/model.pt", "sha256": f"{name}{seed}"}],
        "parameters": 1_234_567,
        "data": "/secret/place/bin",
        "subset": "test",
        "languages": ["en", "de"],
        "engine": "fairseq",
        "decoding": {"max_len_b": 200},
        "post_process": "sentencepiece",
        "tokenize": "13a",
        "beams": {"1": beam, "5": beam},
        "references": REFERENCES,
        "versions": {"python": "3.11.0"},
        "machine": {"processor": "Some CPU", "threads": 2},
        "commit": None,
        **changes,
    }


LENGTHS = [3 + row % 10 for row in range(30)]


def scored(name: str, every: int, right: int = 8, seed: int = 1, **changes: Any) -> dict[str, Any]:
    """A result with one word wrong in each ``every``-th sentence and so many of ten tokens right.

    Teacher forcing gets twice as many sentences right.
    """
    hypotheses = spoil(REFERENCES, 2 * every)
    forced = {"accuracy": 10 * right, "correct": [right] * 30, "tokens": [10] * 30, "hypotheses": hypotheses}
    forced["bleu"] = score_text(hypotheses, REFERENCES)["bleu"]
    more = {"teacher_forced": forced, "source_lengths": LENGTHS, **changes}
    return result(name, seed, spoil(REFERENCES, every), **more)
