"""fairseq-train with every criterion on the GPU, beside the CPU."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fairseq_kd.benchmark.calls import STUDENT, engines
from fairseq_kd.benchmark.gpu.commands import train
from fairseq_kd.benchmark.gpu.path import DRAWN, GpuPath, Material, Measured
from fairseq_kd.errors import UserError

SINGLE, HALF = 1e-3, 3e-2
"""How far a training's losses may be from the CPU's, relative to them: in float32 and in 16 bits."""
UPDATES = "--max-update 10 --disable-validation --no-save --dropout 0"


def training_options(given: Material) -> dict[str, list[str]]:
    """The options of each criterion, by the name of its path."""
    live = ["--task", "translation_kd", "--teacher-path", given.teacher, "--teacher-data", given.data]
    cached = ["--task", "translation_kd", "--teacher-cache", given.of("cache", True)]
    drawn = ["--distilled-data", given.data]  # the gold targets stand in for the teacher's output
    f_distill = ["--criterion", "f_distill", *live, *drawn, "--divergence"]
    options = {
        "fused_cross_entropy": ["--task", "translation_kd", "--criterion", "fused_cross_entropy"],
        "token_kd": ["--criterion", "token_kd", *live],
        "token_kd, cache": ["--criterion", "token_kd", *cached],
        "pre_distill": ["--criterion", "pre_distill", *live],
        "hybrid_kd": ["--criterion", "hybrid_kd", *live, *drawn],
        "f_distill kl": [*f_distill, "kl"],
        "f_distill js, rollouts": [*f_distill, "js"],
    }
    if "ctranslate2" in engines():  # it draws them
        options["f_distill js, rollouts ahead"] = [*f_distill, "js", "--rollout-refresh", "4"]
    return options


FORMATS = {
    "fused_cross_entropy": ("--fp16", "--amp"),
    "token_kd": ("--fp16", "--amp", "--teacher-fp16", "--teacher-bf16"),
    "hybrid_kd": ("--fp16", "--amp"),
    "f_distill js, rollouts": ("--fp16",),
}
"""The number formats that a path is tried in besides float32. fairseq-train takes --bf16 to mean a TPU."""


def training_paths(given: Material, pool: ThreadPoolExecutor) -> list[GpuPath]:
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
