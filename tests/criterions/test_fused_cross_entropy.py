"""The criterion on real models and batches: fairseq's own loss and gradients, whatever the model is wrapped in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from fairseq_kd.errors import UserError
from fairseq_kd.networks.distributions import next_tokens, output_projection, real_tokens
from tests.support.models import ARCHITECTURES, batch, build

SMOOTHED = ("--label-smoothing", "0.1")
PROJECTIONS = {
    "untied": (),
    "tied": ("--share-decoder-input-output-embed",),
    "all tied": ("--share-all-embeddings",),
}


def criteria(data: Path, *options: str, architecture: str = "transformer") -> tuple[Any, Any, Any, Any]:
    """A task, a model, and both criterions over it."""
    task, model, fused = build(
        data, "--criterion", "fused_cross_entropy", *SMOOTHED, *options, architecture=architecture
    )
    _, _, stock = build(data, "--criterion", "label_smoothed_cross_entropy", *SMOOTHED, architecture=architecture)
    return task, model.train(), fused, stock


def gradients(bare: Any, called: Any, criterion: Any, sample: dict[str, Any]) -> tuple[float, dict[str, torch.Tensor]]:
    bare.zero_grad()
    loss, _, log = criterion(called, sample)
    loss.backward()
    return log["loss"].item(), {name: p.grad.clone() for name, p in bare.named_parameters() if p.grad is not None}


def assert_same(one: tuple[float, dict[str, torch.Tensor]], other: tuple[float, dict[str, torch.Tensor]]) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    assert one[1].keys() == other[1].keys()
    for name in one[1]:
        torch.testing.assert_close(one[1][name], other[1][name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_is_fairseqs_loss_on_every_architecture(tiny_corpus: Path, architecture: str) -> None:
    task, model, fused, stock = criteria(tiny_corpus, architecture=architecture)
    sample = batch(task, "valid", list(range(8)))
    assert (output_projection(model) is not None) == (architecture == "transformer")
    assert_same(gradients(model, model, fused, sample), gradients(model, model, stock, sample))


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_it_is_fairseqs_loss_on_every_projection(tiny_corpus: Path, projection: str) -> None:
    task, model, fused, stock = criteria(tiny_corpus, *PROJECTIONS[projection])
    sample = batch(task, "valid", list(range(8)))
    assert output_projection(model) is not None
    assert_same(gradients(model, model, fused, sample), gradients(model, model, stock, sample))


def test_an_adaptive_softmax_may_teach_but_not_learn(tiny_corpus: Path) -> None:
    task, model, fused = build(tiny_corpus, "--criterion", "fused_cross_entropy", "--adaptive-softmax-cutoff", "20")
    sample = batch(task, "valid", list(range(8)))
    with torch.no_grad():
        answers = next_tokens(model.eval(), sample, real_tokens(sample["target"], task.target_dictionary.pad()))
        torch.testing.assert_close(answers.logits(slice(None)).exp().sum(-1), torch.ones(len(answers.features)))
    with pytest.raises(UserError, match="without --adaptive-softmax-cutoff"):
        fused(model, sample)


@pytest.mark.parametrize("architecture", ["nonautoregressive_transformer", "levenshtein_transformer"])
def test_a_non_autoregressive_student_is_refused(tiny_corpus: Path, architecture: str) -> None:
    words = ("--arch", architecture, "--task", "translation_kd", "--criterion", "fused_cross_entropy")
    task, model, fused = build(tiny_corpus, *words)
    with pytest.raises(UserError, match=r"predicts no next token: .* --task translation_lev --criterion nat_loss"):
        fused(model, batch(task, "valid", [0, 1]))


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("find_unused", [False, True])
@pytest.mark.parametrize("projection", ["untied", "tied"])
def test_torchs_wrapper_sees_every_gradient(
    tiny_corpus: Path, process_group: None, projection: str, find_unused: bool
) -> None:
    """Its hooks must fire once for the projection, which is used outside of the wrapped forward."""
    task, model, fused, stock = criteria(tiny_corpus, *PROJECTIONS[projection])
    wrapped = DistributedDataParallel(model, find_unused_parameters=find_unused)
    for rows in ([0, 1, 2], [3, 4, 5, 6]):
        sample = batch(task, "valid", rows)
        alone = gradients(model, model, stock, sample)
        assert_same(gradients(model, wrapped, fused, sample), alone)


@pytest.mark.parametrize("option", [("--label-smoothing", "1"), ("--chunk-memory", "-1")])
def test_an_option_out_of_range_is_named(tiny_corpus: Path, option: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=f"{option[0]} .*: give"):
        build(tiny_corpus, "--criterion", "fused_cross_entropy", *option)


def test_the_chunk_size_changes_nothing(tiny_corpus: Path) -> None:
    task, model, fused, _ = criteria(tiny_corpus)
    sample = batch(task, "valid", list(range(8)))
    whole = gradients(model, model, fused, sample)
    fused.chunk_memory = 1e-3
    assert_same(gradients(model, model, fused, sample), whole)
