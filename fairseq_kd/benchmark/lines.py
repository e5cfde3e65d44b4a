"""What `fairseq-kd benchmark` measures, line by line."""

from pathlib import Path

import ctranslate2
import torch

from fairseq_kd.timing.interleaved import Case

STUDENT = """
  --arch transformer --share-all-embeddings --encoder-layers 2 --decoder-layers 2 --encoder-embed-dim 128
  --decoder-embed-dim 128 --encoder-ffn-embed-dim 256 --decoder-ffn-embed-dim 256 --encoder-attention-heads 4
  --decoder-attention-heads 4 --dropout 0.1 --optimizer adam --lr 1e-4 --clip-norm 1.0 --max-tokens 2048
  --num-workers 0 --data-buffer-size 0 --seed 1
"""
STUDENT_UPDATES = """
  --criterion fused_cross_entropy --lr 3e-3 --lr-scheduler inverse_sqrt --warmup-updates 100 --max-update 400
  --disable-validation
"""
SMOOTHED = ["--label-smoothing", "0.1"]
TOP_K = 8
PRECISIONS = ("float32", "bfloat16", "int8")
DECODED_ROWS = 5000
AHEAD = 8


def loss_cases() -> list[Case]:
    """Losses from features on; the first of a section is what the others are compared with."""
    names = {
        "dense_kd": "dense textbook KD loss",
        "fused_kd": "fused KD loss",
        "stock_ce": "fairseq's label-smoothed cross-entropy",
        "fused_ce": "fused label-smoothed cross-entropy",
    }
    sizes = {"tokens": 2560, "width": 128, "teacher_width": 256}
    return [
        Case(
            f"{title}, vocabulary {vocabulary:,}",
            names[loss],
            "loss",
            {"loss": loss, "vocabulary": vocabulary, **sizes},
        )
        for vocabulary in (8000, 32000)
        for title, losses in (("KD loss", ("dense_kd", "fused_kd")), ("Cross-entropy", ("stock_ce", "fused_ce")))
        for loss in losses
    ]


def training_cases(teacher: str, data: str, cache: Path) -> list[Case]:
    """Whole updates of the same student."""
    task = ["--task", "translation_kd"]
    live = [*task, "--teacher-path", teacher, "--teacher-data", data, "--criterion", "token_kd", *SMOOTHED]
    cached = [*task, "--teacher-cache", str(cache), "--criterion", "token_kd", *SMOOTHED]
    options = {
        "label_smoothed_cross_entropy (fairseq)": ["--criterion", "label_smoothed_cross_entropy", *SMOOTHED],
        "fused_cross_entropy": ["--criterion", "fused_cross_entropy", *SMOOTHED],
        "token_kd, live teacher": live,
        "token_kd, live teacher, --teacher-bf16": [*live, "--teacher-bf16"],
        f"token_kd, cache of top {TOP_K}": cached,
    }
    return [
        Case("Training step", name, "training", {"data": data, "options": [*STUDENT.split(), *chosen], "steps": 20})
        for name, chosen in options.items()
    ]


def teacher_sample_cases(student: str, teacher: str, data: str) -> list[Case]:
    """Whole updates of the student, its teacher's sequences drawn at every step or before (Wen et al. 2023, Table 4).

    What was drawn before costs nothing but its reading, whatever it says: the gold targets stand in.
    """
    task = ["--task", "translation_kd", "--teacher-path", teacher, "--teacher-data", data, "--criterion", "f_distill"]
    ways = {"drawn at every step": ["--online-teacher-samples"], "drawn before": ["--distilled-data", data]}
    return [
        Case(
            f"f_distill step, {divergence}",
            f"teacher's sequences {name}",
            "training",
            {
                "data": data,
                "options": [*STUDENT.split(), *task, "--divergence", divergence, *chosen],
                "steps": 10,
                "start": student,
            },
        )
        for divergence in ("js", "tvd")
        for name, chosen in ways.items()
    ]


def decoding_cases(teacher: str, data: str, folder: Path) -> list[Case]:
    """Beam search with either engine."""
    supported = ctranslate2.get_supported_compute_types("cuda" if torch.cuda.is_available() else "cpu")
    searches = [("fairseq", "float32"), *(("ctranslate2", one) for one in PRECISIONS if one in supported)]
    shared = {"model": teacher, "data": data, "rows": DECODED_ROWS, "reference": str(folder / "fairseq-float32.txt")}
    return [
        Case(
            "Decoding",
            f"{engine}, {precision}",
            "decoding",
            {**shared, "engine": engine, "precision": precision, "output": str(folder / f"{engine}-{precision}.txt")},
        )
        for engine, precision in searches
    ]


def rollout_cases(student: str, data: str) -> list[Case]:
    """Sequences of one student for the same batches."""
    names = {
        "generator": "SequenceGenerator, --sampling --beam 1 (fairseq)",
        "current": "rollouts, current weights",
        "ahead": f"rollouts, --rollout-refresh {AHEAD}, conversion included",
    }
    shared = {"student": student, "data": data, "options": STUDENT.split(), "batches": AHEAD, "steps": 7}
    return [Case("Rollouts", name, "rollouts", {"way": way, **shared}) for way, name in names.items()]
