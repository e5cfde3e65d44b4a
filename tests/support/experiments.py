"""A small experiment, as the files in configs/ describe one: a teacher, and a student that learns by Seq-KD."""

from typing import Any

from tests.support.models import ARCHITECTURES


def small_experiment(name: str, epochs: int, **changes: Any) -> dict[str, Any]:
    """The keys of an experiment's YAML; ``changes`` replace some or come on top."""
    return {
        "name": name,
        "title": "An experiment",
        "languages": ["src", "tgt"],
        "raw": "fairseq-kd synthetic --output {output} --train 200 --valid 20 --test 30",
        "vocabulary": 200,
        "training": f"--task translation_kd {ARCHITECTURES['transformer']} --share-all-embeddings --optimizer adam "
        f"--lr 0.01 --max-tokens 800 --max-epoch {epochs} --no-epoch-checkpoints --log-format simple --num-workers 0",
        "teacher": "--criterion fused_cross_entropy",
        "student": "--dropout 0.1",
        "decoding": "--max-len-a 1.2 --max-len-b 10",
        "beams": "1",
        "seeds": [1],
        "rows": {"seq_kd": {"name": "Seq-KD", "data": "distilled", "options": "--criterion fused_cross_entropy"}},
        "baseline": "Seq-KD",
        **changes,
    }
