"""The compiled loss of a chunk: the same values and gradients, also where the compiler fails."""

import logging
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._inductor import config as inductor

from fairseq_kd.losses import compiled
from fairseq_kd.losses.chunk import Objective, chunk_loss
from fairseq_kd.losses.divergences import cross_entropy, generalized_js
from fairseq_kd.losses.truncation import Truncated, truncate

VOCABULARY = 200


@pytest.fixture(autouse=True)
def fresh_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr(compiled, "_failed", False)


def _chunk(rows: int, kind: str) -> tuple[Tensor, Tensor, Tensor | Truncated]:
    generator = torch.Generator().manual_seed(rows)
    own, theirs = torch.randn(2, rows, VOCABULARY, generator=generator) * 3
    target = torch.randint(VOCABULARY, (rows,), generator=generator)
    log_probs = torch.log_softmax(theirs, dim=-1)
    teachers = {"all symbols": theirs, "top 8": Truncated(*truncate(log_probs, 8))}
    return own, target, teachers[kind]


@pytest.mark.integration  # the compiler runs commands
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.parametrize(
    ("kind", "divergence"),
    [
        ("all symbols", partial(generalized_js, weight=0.3)),
        ("all symbols", cross_entropy),
        ("top 8", cross_entropy),
    ],
    ids=["JS", "cross-entropy", "top 8"],
)
def test_the_compiled_loss_and_gradient_equal_the_others(kind: str, divergence: partial[Tensor]) -> None:
    for rows in (12, 5):  # the last chunk of a batch is shorter
        logits, target, teacher = _chunk(rows, kind)
        shares = torch.rand(rows, 1)
        for hard, soft in ((0.5, 0.25), (shares, 1 - shares)):  # one weight, or one for each token
            objective = Objective(hard, 0.1, soft, divergence)
            expected, expected_slope = chunk_loss(logits.clone(), target, teacher, objective)
            values, slope = compiled.compiled_chunk_loss(logits.clone, target, teacher, objective)
            for one, other in zip(values, expected, strict=True):
                torch.testing.assert_close(one, other)
            torch.testing.assert_close(slope, expected_slope)
    assert not compiled._failed


def test_a_compiler_that_fails_is_named_once_and_the_loss_is_computed(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    logits, target, teacher = _chunk(4, "all symbols")
    objective = Objective(0.5, 0.0, 0.5, cross_entropy)
    expected = chunk_loss(logits.clone(), target, teacher, objective)[1]
    missing = {"cpp.cxx": (str(tmp_path / "no-compiler"),), "fx_graph_cache": False}
    with inductor.patch(missing), caplog.at_level(logging.WARNING, compiled.logger.name):
        for _ in range(2):
            slope = compiled.compiled_chunk_loss(logits.clone, target, teacher, objective)[1]
            torch.testing.assert_close(slope, expected)
    told = [record.getMessage() for record in caplog.records if record.name == compiled.logger.name]
    assert len(told) == 1 and "torch.compile failed" in told[0]


@pytest.mark.integration  # the compiler runs commands
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiler_that_fails_after_a_part_leaves_no_trace() -> None:
    """With a truncated teacher the logits are overwritten before the divergence, here one that cannot be compiled."""

    def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
        return cross_entropy(log_p, log_q) * float(log_q.detach().exp().numpy().sum())

    logits, target, teacher = _chunk(6, "top 8")
    objective = Objective(0.5, 0.1, 0.5, divergence)
    expected, expected_slope = chunk_loss(logits.clone(), target, teacher, objective)
    values, slope = compiled.compiled_chunk_loss(logits.clone, target, teacher, objective)
    assert compiled._failed
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(slope, expected_slope)
