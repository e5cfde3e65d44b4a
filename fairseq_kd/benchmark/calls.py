"""The calls that `fairseq-kd benchmark` times, a line of its table for each."""

from collections.abc import Sequence
from pathlib import Path

import torch

from fairseq_kd.benchmark.decoding_speed import measure_decoding
from fairseq_kd.benchmark.loss_speed import measure_loss
from fairseq_kd.benchmark.rollout_speed import measure_rollouts
from fairseq_kd.benchmark.selection_speed import SUBSET, measure_selection
from fairseq_kd.benchmark.training_speed import measure_training
from fairseq_kd.decoding.ctranslate2.conversion import CannotConvert, import_ctranslate2
from fairseq_kd.timing.interleaved import TimedCall

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


def engines() -> tuple[str, ...]:
    """The engines that are installed. A machine that is lent for minutes may lack CTranslate2."""
    try:
        import_ctranslate2()
    except CannotConvert:
        return ("fairseq",)
    return ("fairseq", "ctranslate2")


def loss_calls() -> list[TimedCall]:
    """Losses, from decoder features to gradients; a section's first loss is what the others are compared with."""
    names = {
        "dense_kd": "dense textbook KD loss",
        "fused_kd": "fused KD loss",
        "stock_ce": "fairseq's label-smoothed cross-entropy",
        "fused_ce": "fused label-smoothed cross-entropy",
    }
    sizes = {"tokens": 2560, "width": 128, "teacher_width": 256}
    return [
        TimedCall(
            f"{title}, vocabulary {vocabulary:,}",
            names[loss],
            measure_loss,
            {"loss": loss, "vocabulary": vocabulary, **sizes},
        )
        for vocabulary in (8000, 32000)
        for title, losses in (("KD loss", ("dense_kd", "fused_kd")), ("Cross-entropy", ("stock_ce", "fused_ce")))
        for loss in losses
    ]


def training_calls(
    teacher: str, data: str, cache: Path, student: Sequence[str] = tuple(STUDENT.split())
) -> list[TimedCall]:
    """Whole updates of the same student, whose options of fairseq-train are ``student``."""
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
        TimedCall("Training step", name, measure_training, {"data": data, "options": [*student, *chosen], "steps": 20})
        for name, chosen in options.items()
    ]


def hybrid_calls(teacher: str, data: str, cache: Path) -> list[TimedCall]:
    """Whole updates of a hybrid (Wei et al. 2024), the token-level loss on either target's prefixes.

    A step's time does not depend on what the targets say, so the gold targets stand in for the teacher's output.
    """
    task = ["--task", "translation_kd", "--distilled-data", data, "--criterion", "hybrid_kd", "--kd-alpha", "1"]
    gate = ["--gate", "learned", "--gate-signal", "loss", "--gate-prior-weight", "0"]
    sources = {
        "live teacher": ["--teacher-path", teacher, "--teacher-data", data],
        f"cache of top {TOP_K}": ["--teacher-cache", str(cache)],
    }
    return [
        TimedCall(
            f"hybrid_kd step, {source}",
            f"--gate-token-prefixes {prefixes}",
            measure_training,
            {
                "data": data,
                "options": [*STUDENT.split(), *task, *gate, *chosen, "--gate-token-prefixes", prefixes],
                "steps": 20,
            },
        )
        for source, chosen in sources.items()
        for prefixes in ("gold", "distilled")
    ]


def teacher_sample_calls(student: str, teacher: str, data: str) -> list[TimedCall]:
    """Whole updates with the teacher's sequences, drawn at every step or before training (Wen et al. 2023, Table 4).

    Sequences drawn before cost only their reading, whatever their text is, so the gold targets stand in for them.
    """
    task = ["--task", "translation_kd", "--teacher-path", teacher, "--teacher-data", data, "--criterion", "f_distill"]
    ways = {"drawn at every step": ["--online-teacher-samples"], "drawn before": ["--distilled-data", data]}
    return [
        TimedCall(
            f"f_distill step, {divergence}",
            f"teacher's sequences {name}",
            measure_training,
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


def decoding_calls(teacher: str, data: str, folder: Path) -> list[TimedCall]:
    """Beam search with each engine that is installed, in each precision that the machine supports."""
    supported: set[str] = set()
    if "ctranslate2" in engines():
        supported = import_ctranslate2().get_supported_compute_types("cuda" if torch.cuda.is_available() else "cpu")
    searches = [("fairseq", "float32"), *(("ctranslate2", one) for one in PRECISIONS if one in supported)]
    shared = {"model": teacher, "data": data, "rows": DECODED_ROWS, "reference": str(folder / "fairseq-float32.txt")}
    return [
        TimedCall(
            "Decoding",
            f"{engine}, {precision}",
            measure_decoding,
            {**shared, "engine": engine, "precision": precision, "output": str(folder / f"{engine}-{precision}.txt")},
        )
        for engine, precision in searches
    ]


def rollout_calls(student: str, data: str) -> list[TimedCall]:
    """Sequences of one student for the same batches, drawn in three ways."""
    names = {
        "generator": "SequenceGenerator, --sampling --beam 1 (fairseq)",
        "current": "rollouts, current weights",
        "ahead": f"rollouts, --rollout-refresh {AHEAD}, conversion included",
    }
    shared = {"student": student, "data": data, "options": STUDENT.split(), "batches": AHEAD, "steps": 7}
    return [TimedCall("Rollouts", name, measure_rollouts, {"way": way, **shared}) for way, name in names.items()]


def selection_calls(nbest: Path, data: str) -> list[TimedCall]:
    """`fairseq-kd select` on the validation set's n-best lists in the folder ``nbest``, and a loop over sacreBLEU."""
    shared = {"nbest": str(nbest / f"{SUBSET}.nbest.tsv"), "data": data}
    names = ("sacrebleu.sentence_bleu for each", "select, 1 process", "select, 2 processes")
    return [
        TimedCall("Selection", name, measure_selection, {**shared, "workers": workers})
        for workers, name in enumerate(names)
    ]
