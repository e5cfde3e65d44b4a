"""Each path of the plugin once on the GPU, beside the same command on the CPU."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fairseq_kd.benchmark.calls import TOP_K
from fairseq_kd.benchmark.gpu.commands import fairseq_kd_command, reason
from fairseq_kd.benchmark.gpu.decoding_paths import decoding_paths
from fairseq_kd.benchmark.gpu.path import GpuPath, Material, Measured, model_options
from fairseq_kd.benchmark.gpu.training_paths import training_paths
from fairseq_kd.errors import UserError
from fairseq_kd.storage.processes import processors


def check_paths(given: Material) -> list[dict[str, Any]]:
    """Run every path, as many at a time as there are cores.

    Returns:
        For each path its "name", "limit" and whether it is "ok"; "difference" and "note", or the "reason" it failed.
    """
    paths = [_caches(given)]
    lines = [outcome(path) for path in paths]  # a training reads the GPU's cache
    with ThreadPoolExecutor(processors()) as pool, tqdm(unit="path", desc="GPU paths", disable=None) as bar:
        paths = [*training_paths(given, pool), *decoding_paths(given, pool)]
        bar.total = len(paths)
        for line in pool.map(outcome, paths):
            lines.append(line)
            bar.update()
    return lines


def outcome(path: GpuPath) -> dict[str, Any]:
    """The path's line of the table, as :func:`check_paths` returns it."""
    line: dict[str, Any] = {"name": path.name, "limit": path.limit, "ok": False}
    try:
        found = path.measure()
    except UserError as error:
        return {**line, "reason": reason(error)}
    except Exception as error:  # whatever stops one path, the others are still worth their figures
        return {**line, "reason": repr(error)}
    return {**line, "ok": found.difference <= path.limit, "difference": found.difference, "note": found.note}


def write_cache(given: Material, subset: str, gpu: bool) -> None:
    """Write the soft targets of a split; a training on the GPU reads those of train.

    Raises:
        UserError: the command failed.
    """
    words = ["cache", *model_options(given), "--teacher-data", given.data, "--top-k", str(TOP_K)]
    fairseq_kd_command([*words, "--subset", subset, "--output", given.of("cache", gpu)], gpu and given.gpu)


def _caches(given: Material) -> GpuPath:
    """The soft targets of valid on either device, and those of train."""

    def read(gpu: bool) -> np.ndarray:
        blocks = sorted(Path(given.of("cache", gpu), "valid").glob("*.npy"))
        return np.concatenate([np.load(block) for block in blocks])

    def measure() -> Measured:
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(write_cache, given), ("train", "valid", "valid"), (True, True, False)))
        # log-probabilities of each position's likeliest symbols, stored as float16
        own, other = (np.exp(read(gpu)["log_probs"].astype(np.float32)) for gpu in (True, False))
        gap = float(np.abs(own - other).max())
        return Measured(gap, f"{len(own):,} positions, greatest difference of a probability {gap:.1e}")

    return GpuPath(f"cache of top {TOP_K}", 5e-3, measure)
