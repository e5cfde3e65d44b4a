"""Pruned weights under fairseq's half-precision optimizers, whose float32 copies are what is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import optim
from fairseq import options as fairseq_options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

from fairseq_kd.compress.prune import prune_model
from fairseq_kd.errors import UserError
from fairseq_kd.tasks.keep_zeros import PrunedWeights, masters
from tests.support.models import ARCHITECTURES, build


def configuration(data: Path, *options: str) -> Any:
    words = [str(data), "--task", "translation_kd", *ARCHITECTURES["transformer"].split(), *options]
    return convert_namespace_to_omegaconf(
        fairseq_options.parse_args_and_arch(fairseq_options.get_training_parser(), input_args=words)
    )


def pruned_model(data: Path) -> tuple[Any, Any]:
    task, model, _ = build(data, "--task", "translation_kd", "--keep-zeros", "--share-decoder-input-output-embed")
    prune_model(model.state_dict(), 0.5, "class-uniform")
    return task, model


def zeros(tensors: Any) -> list[list[bool]]:
    return [(tensor.detach() == 0).flatten().tolist() for tensor in tensors]


ADAM = "--optimizer adam --weight-decay 0.01 "
SGD = "--optimizer sgd --momentum 0.9 --weight-decay 0.01 "


@pytest.mark.parametrize(
    "options",
    [
        ADAM + "--fp16",
        SGD + "--fp16",
        ADAM + "--fp16 --fp16-no-flatten-grads",
        ADAM + "--memory-efficient-fp16",
        ADAM + "--bf16",
        SGD + "--bf16",
    ],
)
def test_half_precision(tiny_corpus: Path, monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    """Two steps of what the trainer does with fairseq's own optimizer, on gradients of every weight."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)  # where fairseq puts the flat copy: the CPU's index
    cfg = configuration(tiny_corpus, "--lr", "0.1", *options.split())
    task, model = pruned_model(tiny_corpus)
    model = model.bfloat16() if cfg.common.bf16 else model.half()
    weights = [weight for weight in model.parameters() if weight.dim() > 1]
    before, values = zeros(weights), [weight.detach().clone() for weight in weights]
    kind = optim.MemoryEfficientFP16Optimizer if cfg.common.memory_efficient_fp16 else optim.FP16Optimizer
    trained = kind.build_optimizer(cfg, list(model.parameters()))
    task.begin_epoch(1, model)
    for step in range(2):
        trained.zero_grad()
        trained.backward(sum((weight.float() * (index + 1)).sum() for index, weight in enumerate(model.parameters())))
        trained.clip_grad_norm(1.0)
        for _, master in masters(trained):  # as if an optimizer had moved them of itself
            master.detach().add_(1e-3)
        task.optimizer_step(trained, model=model, update_num=step)
    assert zeros(weights) == before
    assert all(not torch.equal(weight, value) for weight, value in zip(weights, values, strict=True))
    copies = dict(masters(trained))
    assert len(copies) == (0 if "memory-efficient" in options else len(list(model.parameters())))
    if copies:
        assert zeros(copies[weight] for weight in weights) == before
        assert all(torch.equal(copies[weight].to(weight.dtype), weight) for weight in weights)


def test_the_norm_of_the_gradient_is_that_of_the_weights_left(tiny_corpus: Path) -> None:
    _, model = pruned_model(tiny_corpus)
    PrunedWeights(model)
    for _ in range(2):  # gradients of two batches add up
        sum(weight.sum() for weight in model.parameters()).backward()
    for weight in model.parameters():
        kept = (weight != 0) if weight.dim() > 1 else torch.ones_like(weight, dtype=torch.bool)
        torch.testing.assert_close(weight.grad, 2.0 * kept)


def test_a_model_that_is_not_pruned_is_refused(tiny_corpus: Path) -> None:
    _, model, _ = build(tiny_corpus, "--encoder-learned-pos")
    assert sum(int((weight == 0).sum()) for weight in model.parameters() if weight.dim() > 1) == 3 * 16  # padding
    with pytest.raises(UserError, match="--keep-zeros: no weight is zero; start from"):
        PrunedWeights(model)


def test_frozen_embeddings_keep_their_zeros(tiny_corpus: Path) -> None:
    task, model, _ = build(
        tiny_corpus, "--task", "translation_kd", "--keep-zeros", "--encoder-freeze-embed", architecture="lstm"
    )
    prune_model(model.state_dict(), 0.5, "class-uniform")
    frozen = model.encoder.embed_tokens.weight
    before = frozen.clone()
    task.begin_epoch(1, model)
    sum(weight.sum() for weight in model.parameters() if weight.requires_grad).backward()
    assert frozen.grad is None and torch.equal(frozen, before) and bool((frozen[2:] == 0).any())
    trained = model.decoder.embed_tokens.weight
    assert torch.equal(trained.grad, (trained != 0).float())
