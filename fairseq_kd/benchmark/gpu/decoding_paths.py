"""Search, sampling and scoring on the GPU, beside the CPU."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from fairseq_kd.benchmark.calls import engines
from fairseq_kd.benchmark.gpu.commands import fairseq_kd_command
from fairseq_kd.benchmark.gpu.path import DRAWN, GpuPath, Material, Measured, model_options
from fairseq_kd.errors import UserError

SAME, SCORE = 0.02, 0.5
"""How many lines may differ from the CPU's translations in float32, as a share; and by how much BLEU may."""
SEARCH = ("--subset", "valid", "--max-len-a", "1.2", "--max-len-b", "10")
PRECISIONS = ("float32", "float16", "bfloat16", "int8_float16", "int8")


def decoding_paths(given: Material, pool: ThreadPoolExecutor) -> list[GpuPath]:
    """The paths; what they share on the CPU is begun in ``pool``."""
    return [*_searches(given, pool), *_evaluations(given, pool), _sampling(given)]


def _searches(given: Material, pool: ThreadPoolExecutor) -> list[GpuPath]:
    """Beam search with each engine in float32."""

    @cache
    def decode(engine: str, gpu: bool) -> list[str]:
        output = given.of(f"decode-{engine}", gpu)
        words = [*model_options(given), *SEARCH, "--beam", "5", "--engine", engine, "--output", output]
        fairseq_kd_command(["decode", *words], gpu)
        return _target_lines(output)

    # CTranslate2 gives fairseq's translations on the CPU (tested), so one reference does for both engines. The last one
    # is the faster.
    reference = pool.submit(decode, engines()[-1], False)

    def path(engine: str) -> GpuPath:
        return GpuPath(
            f"decode, {engine}", SAME, lambda: Measured(*_unlike(reference.result(), decode(engine, given.gpu)))
        )

    return [path(engine) for engine in engines()]


def _unlike(other: Sequence[str], own: Sequence[str]) -> tuple[float, str]:
    """The share of lines that differ, and its description."""
    if len(own) != len(other):
        raise UserError(f"{len(own)} lines were written, {len(other)} on the CPU")
    same = sum(map(str.__eq__, own, other))
    return 1 - same / len(own), f"{same:,} of {len(own):,} lines the same"


def _target_lines(folder: str) -> list[str]:
    """The translations that decode wrote for the split valid."""
    signature = json.loads(Path(folder, "signature.json").read_text(encoding="utf-8"))
    return Path(folder, f"valid.{signature['target']}").read_text(encoding="utf-8").splitlines()


def _sampling(given: Material) -> GpuPath:
    """Ancestral sampling: a GPU draws other sequences, so only their lengths are compared."""

    @cache
    def words(gpu: bool) -> int:
        output = given.of("samples", gpu)
        fairseq_kd_command(["decode", *model_options(given), *SEARCH, "--sampling", "--output", output], gpu)
        return sum(len(line.split()) for line in _target_lines(output))

    def measure() -> Measured:
        own, other = words(given.gpu), words(False)
        return Measured(abs(own - other) / other, f"{own:,} tokens, {other:,} on the CPU")

    return GpuPath("decode, sampling", DRAWN, measure)


def _evaluations(given: Material, pool: ThreadPoolExecutor) -> list[GpuPath]:
    """The BLEU of each engine, and of CTranslate2 in each precision."""

    @cache
    def bleu(engine: str, precision: str, gpu: bool) -> float:
        output = given.of(f"evaluation-{engine}-{precision}", gpu) + ".json"
        how = ["--beam", "5", "--engine", engine, "--precision", precision, "--output", output]
        fairseq_kd_command(["evaluate", *model_options(given), *SEARCH, *how], gpu)
        return json.loads(Path(output).read_text(encoding="utf-8"))["beams"]["5"]["bleu"]["score"]

    reference = pool.submit(bleu, engines()[-1], "float32", False)

    def path(engine: str, precision: str) -> GpuPath:
        def measure() -> Measured:
            other, own = reference.result(), bleu(engine, precision, given.gpu)
            return Measured(abs(own - other), f"BLEU {own:.2f}, {other:.2f} on the CPU in float32")

        return GpuPath(f"evaluate, {engine} {precision}", SCORE, measure)

    tried = PRECISIONS if given.gpu else ("float32", "int8")
    precisions = {"fairseq": ("float32",), "ctranslate2": tried}
    return [path(engine, precision) for engine in engines() for precision in precisions[engine]]
