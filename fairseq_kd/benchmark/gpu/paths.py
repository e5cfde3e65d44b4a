"""Each path of the plugin once on the GPU, beside the same command on the CPU."""

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fairseq_kd.benchmark.calls import STUDENT, TOP_K
from fairseq_kd.benchmark.gpu.commands import fairseq_kd_command, reason, train
from fairseq_kd.errors import UserError

SINGLE, HALF, DRAWN = 1e-3, 3e-2, 0.2
"""How far a training's losses may be from the CPU's: in float32, in 16 bits, and where sequences are drawn at random.

A GPU has other random numbers than a CPU, so rollouts differ."""
SAME, ABOUT, SCORE = 0.02, 0.3, 0.3
"""How many lines may differ from the CPU's translations, as a share: in float32 and in other precisions; and by how
much BLEU may."""
UPDATES = "--max-update 10 --disable-validation --no-save --dropout 0"
PRECISIONS = ("float32", "float16", "bfloat16", "int8_float16", "int8")


@dataclass(frozen=True)
class Material:
    """What the paths work on.

    Attributes:
        teacher: the checkpoint of a Transformer.
        data: its data-bin.
        folder: where the paths write.
        gpu: False on a machine without a GPU: there every path runs on the CPU.
    """

    teacher: str
    data: str
    folder: Path
    gpu: bool

    def of(self, name: str, gpu: bool) -> str:
        """Where one path writes on the GPU or on the CPU."""
        return str(self.folder / f"{name}-{'gpu' if gpu else 'cpu'}")


@dataclass(frozen=True)
class Measured:
    """How far the GPU's answer is from the CPU's, and what else is worth telling."""

    difference: float
    note: str


@dataclass(frozen=True)
class GpuPath:
    """One path.

    Attributes:
        name: what the table calls it.
        limit: the greatest difference from the CPU that is no fault.
        measure: runs the path.
    """

    name: str
    limit: float
    measure: Callable[[], Measured]


def check_paths(given: Material) -> list[dict[str, Any]]:
    """Run every path, as many at a time as there are cores.

    Returns:
        For each path its "name", "limit" and whether it is "ok"; "difference" and "note", or the "reason" it failed.
    """
    paths = [_caches(given)]
    lines = [_line(path) for path in paths]  # a training reads the GPU's cache
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(unit="path", desc="GPU paths", disable=None) as bar:
        paths = [*_trainings(given, pool), *_searches(given, pool), _sampling(given), _evaluation(given)]
        bar.total = len(paths)
        for line in pool.map(_line, paths):
            lines.append(line)
            bar.update()
    return lines


def _line(path: GpuPath) -> dict[str, Any]:
    line: dict[str, Any] = {"name": path.name, "limit": path.limit, "ok": False}
    try:
        found = path.measure()
    except UserError as error:
        return {**line, "reason": reason(error)}
    except Exception as error:  # whatever stops one path, the others are still worth their figures
        return {**line, "reason": repr(error)}
    return {**line, "ok": found.difference <= path.limit, "difference": found.difference, "note": found.note}


def training_options(given: Material) -> dict[str, list[str]]:
    """The options of each criterion, by the name of its path."""
    live = ["--task", "translation_kd", "--teacher-path", given.teacher, "--teacher-data", given.data]
    cached = ["--task", "translation_kd", "--teacher-cache", given.of("cache", True)]
    drawn = ["--distilled-data", given.data]  # the gold targets stand in for the teacher's output
    f_distill = ["--criterion", "f_distill", *live, *drawn, "--divergence"]
    return {
        "fused_cross_entropy": ["--task", "translation_kd", "--criterion", "fused_cross_entropy"],
        "token_kd": ["--criterion", "token_kd", *live],
        "token_kd, cache": ["--criterion", "token_kd", *cached],
        "pre_distill": ["--criterion", "pre_distill", *live],
        "hybrid_kd": ["--criterion", "hybrid_kd", *live, *drawn],
        "f_distill kl": [*f_distill, "kl"],
        "f_distill js, rollouts": [*f_distill, "js"],
        "f_distill js, rollouts ahead": [*f_distill, "js", "--rollout-refresh", "4"],
    }


FORMATS = {
    "fused_cross_entropy": ("--fp16", "--bf16", "--amp"),
    "token_kd": ("--fp16", "--bf16", "--amp", "--teacher-fp16", "--teacher-bf16"),
    "hybrid_kd": ("--fp16", "--bf16", "--amp"),
    "f_distill js, rollouts": ("--fp16", "--bf16"),
}
"""The number formats that a path is tried in besides float32."""


def _trainings(given: Material, pool: ThreadPoolExecutor) -> list[GpuPath]:
    """fairseq-train with every criterion, and with the number formats."""
    criterions = training_options(given)
    shared = [*STUDENT.split(), *UPDATES.split()]
    # All formats of one criterion are compared with one training on the CPU.
    references = {
        name: pool.submit(train, given.data, (*shared, *options), False) for name, options in criterions.items()
    }

    def path(name: str, formats: Sequence[str]) -> GpuPath:
        limit = DRAWN if "rollouts" in name else HALF if formats else SINGLE
        options = (*shared, *criterions[name], *formats)

        def measure() -> Measured:
            other = np.array(references[name].result())
            own = np.array(train(given.data, options, given.gpu))
            if own.shape != other.shape:
                raise UserError(f"{len(own)} updates were logged, {len(other)} on the CPU")
            # Random sequences differ from update to update; what can be compared is their mean.
            gaps = np.abs(own - other) / other if limit < DRAWN else abs(own.mean() - other.mean()) / other.mean()
            return Measured(float(np.max(gaps)), f"loss {own[0]:.3f} to {own[-1]:.3f}")

        return GpuPath(" ".join([name, *formats]), limit, measure)

    tried = FORMATS if given.gpu else {}  # a CPU has none but float32
    formats = [(name, (one,)) for name, some in tried.items() for one in some]
    return [path(name, chosen) for name, chosen in [*((one, ()) for one in criterions), *formats]]


def _searches(given: Material, pool: ThreadPoolExecutor) -> list[GpuPath]:
    """Beam search with either engine, in each precision."""

    def decode(engine: str, precision: str, gpu: bool) -> list[str]:
        output = given.of(f"decode-{engine}-{precision}", gpu)
        search = ["--beam", "5", "--max-len-a", "1.2", "--max-len-b", "10"]
        words = [*_model(given), "--subset", "valid", *search, "--engine", engine, "--precision", precision]
        fairseq_kd_command(["decode", *words, "--output", output], gpu)
        return _target_lines(output)

    # CTranslate2 gives fairseq's translations on the CPU (tested), so one reference does for both engines.
    reference = pool.submit(decode, "ctranslate2", "float32", False)

    def path(engine: str, precision: str) -> GpuPath:
        def measure() -> Measured:
            own, other = decode(engine, precision, given.gpu), reference.result()
            return Measured(*_unlike(own, other))

        return GpuPath(f"decode, {engine} {precision}", SAME if precision == "float32" else ABOUT, measure)

    precisions = PRECISIONS if given.gpu else ("float32", "int8")
    return [path("fairseq", "float32"), *(path("ctranslate2", one) for one in precisions)]


def _unlike(own: Sequence[str], other: Sequence[str]) -> tuple[float, str]:
    """The share of lines that differ, and its description."""
    if len(own) != len(other):
        raise UserError(f"{len(own)} lines were written, {len(other)} on the CPU")
    same = sum(map(str.__eq__, own, other))
    return 1 - same / len(own), f"{same:,} of {len(own):,} lines the same"


def _model(given: Material) -> list[str]:
    return ["--model", given.teacher, "--data", given.data]


def _target_lines(folder: str) -> list[str]:
    """The translations that decode wrote for the split valid."""
    signature = json.loads(Path(folder, "signature.json").read_text(encoding="utf-8"))
    return Path(folder, f"valid.{signature['target']}").read_text(encoding="utf-8").splitlines()


def _sampling(given: Material) -> GpuPath:
    """Ancestral sampling: a GPU draws other sequences, so only their lengths are compared."""

    def words(gpu: bool) -> int:
        output = given.of("samples", gpu)
        limits = ["--subset", "valid", "--sampling", "--max-len-a", "1.2", "--max-len-b", "10"]
        fairseq_kd_command(["decode", *_model(given), *limits, "--output", output], gpu)
        return sum(len(line.split()) for line in _target_lines(output))

    def measure() -> Measured:
        own, other = words(given.gpu), words(False)
        return Measured(abs(own - other) / other, f"{own:,} tokens, {other:,} on the CPU")

    return GpuPath("decode, sampling", DRAWN, measure)


def _evaluation(given: Material) -> GpuPath:
    def result(gpu: bool) -> dict[str, Any]:
        output = given.of("evaluation", gpu) + ".json"
        limits = ["--subset", "valid", "--beam", "1", "--engine", "fairseq", "--max-len-a", "1.2", "--max-len-b", "10"]
        fairseq_kd_command(["evaluate", *_model(given), *limits, "--output", output], gpu)
        return json.loads(Path(output).read_text(encoding="utf-8"))

    def measure() -> Measured:
        bleu, other = (result(gpu)["beams"]["1"]["bleu"]["score"] for gpu in (given.gpu, False))
        return Measured(abs(bleu - other), f"BLEU {bleu:.2f}, {other:.2f} on the CPU")

    return GpuPath("evaluate", SCORE, measure)


def _caches(given: Material) -> GpuPath:
    """The soft targets of valid on either device, and those of train, which a training reads."""
    words = ["cache", *_model(given), "--teacher-data", given.data, "--top-k", str(TOP_K)]

    def write(job: tuple[str, bool]) -> None:
        subset, gpu = job
        fairseq_kd_command([*words, "--subset", subset, "--output", given.of("cache", gpu)], gpu and given.gpu)

    def read(gpu: bool) -> np.ndarray:
        blocks = sorted(Path(given.of("cache", gpu), "valid").glob("*.npy"))
        return np.concatenate([np.load(block) for block in blocks])

    def measure() -> Measured:
        with ThreadPoolExecutor() as pool:
            list(pool.map(write, [("train", True), ("valid", True), ("valid", False)]))
        # log-probabilities of each position's likeliest symbols, stored as float16
        own, other = (np.exp(read(gpu)["log_probs"].astype(np.float32)) for gpu in (True, False))
        gap = float(np.abs(own - other).max())
        return Measured(gap, f"{len(own):,} positions, greatest difference of a probability {gap:.1e}")

    return GpuPath(f"cache of top {TOP_K}", 5e-3, measure)
