"""The student's rollouts for several updates at a time: from which weights, for which batches, how they are spread."""

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairseq_kd.decoding.ctranslate2.live_translator import live_translator
from fairseq_kd.decoding.options import Sampling
from fairseq_kd.decoding.sampling.rollouts import draw_rollouts
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.networks.parameters import is_parameter
from fairseq_kd.tasks.rollouts_ahead import RolloutsAhead
from tests.support.models import build
from tests.support.sampling import SAMPLINGS, assert_drawn_from, exact
from tests.support.training import train_command

KD = ("--task", "translation_kd", "--criterion", "f_distill", "--divergence", "rkl")


def setup(data: Path, *options: str) -> tuple[Any, Any]:
    task, model, _ = build(data, "--task", "translation_kd", *options)
    task.load_dataset("train")
    return task, model.train()


def iterate(task: Any, **options: Any) -> Any:
    """The epoch iterator as fairseq's trainer asks for it."""
    return task.get_batch_iterator(task.dataset("train"), max_tokens=200, seed=1, **options)


@pytest.mark.parametrize("options", [*SAMPLINGS, {"top_k": 9, "top_p": 0.5, "temperature": 1.5}])
def test_frequencies_are_the_models(tiny_corpus: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """Chi-squared of 20,000 first symbols."""
    task, model = setup(tiny_corpus)
    sampling = Sampling(max_len_a=0.0, max_len_b=1, **options)
    ahead = RolloutsAhead(task, sampling, 1, [1], 1)
    ahead.seeded((1, 2))
    translator = live_translator(model, task, tmp_path, check=True)
    first = torch.stack([symbols[0] for _, symbols in ahead.decode(translator, [[3] * 20000], 1024)])
    dataset = task.dataset("train")
    assert_drawn_from(first, exact(task, model, dataset.collater([dataset[3]]), sampling))


@pytest.mark.parametrize(("shards", "frequencies"), [(1, [1]), (1, [2, 3]), (2, [1])])
def test_weights_are_those_at_the_start_of_the_window(tiny_corpus: Path, shards: int, frequencies: list[int]) -> None:
    """The likeliest symbols alone: then every sequence is known from the weights that it was drawn from."""
    task, model = setup(tiny_corpus)
    sampling, updates = Sampling(top_k=1, max_len_b=4), 2
    ahead = RolloutsAhead(task, sampling, updates, frequencies, seed=1)
    iterator, changed = iterate(task, num_shards=shards, shard_id=shards - 1), 0
    for epoch in (1, 2):
        frequency = frequencies[min(epoch, len(frequencies)) - 1]
        for number, sample in enumerate(iterator.next_epoch_itr()):
            if not sample:  # this process has a batch less in the epoch's last round
                continue
            if number % (updates * frequency) == 0:
                at_start = copy.deepcopy(model)
            found = ahead.draw(model, sample)
            expected = draw_rollouts([at_start], sample, sampling, (1, 1), task.target_dictionary)
            assert torch.equal(found, expected)
            changed += not torch.equal(found, draw_rollouts([model], sample, sampling, (1, 1), task.target_dictionary))
            if (number + 1) % frequency == 0:
                task.update += 1
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter.add_(0.05 * torch.randn_like(parameter))
        task.update += 1
    assert changed  # else the test would not see whose weights they are


def test_a_limit_below_the_minimum_wins_and_counts_no_padding_symbol(tiny_corpus: Path) -> None:
    """As for a rollout of current weights. A text may hold <pad>, which fairseq does not count in a source."""
    task, model = setup(tiny_corpus)
    dataset, pad = task.dataset("train"), task.source_dictionary.pad()
    dataset.src = [torch.tensor([5, pad, 6, pad, 7, pad, 8, task.source_dictionary.eos()])]
    dataset.tgt, dataset.tgt_sizes, dataset.src_sizes = [dataset.tgt[0]], dataset.tgt_sizes[:1], np.array([8])
    sampling = Sampling(top_k=1, max_len_a=1.0, max_len_b=0)
    sample = next(iterate(task, required_batch_size_multiple=1).next_epoch_itr())
    found = RolloutsAhead(task, sampling, 1, [1], 1, min_len=99).draw(model, sample)
    expected = draw_rollouts([model], sample, sampling, (1, 1), task.target_dictionary, min_len=99)
    assert found.size(1) == 6 and torch.equal(found, expected)  # 5 real symbols, and </s> behind them


def test_the_seed_the_update_and_the_process_decide(tiny_corpus: Path) -> None:
    def draw(seed: int, update: int, process: int) -> torch.Tensor:
        task, model = setup(tiny_corpus)
        task.update = update
        sample = next(iterate(task, num_shards=2, shard_id=process).next_epoch_itr(shuffle=False))
        before = torch.get_rng_state()
        found = RolloutsAhead(task, Sampling(), 2, [1], seed).draw(model, sample)
        assert torch.equal(torch.get_rng_state(), before) and model.training
        return found

    first = draw(1, 5, 0)
    assert torch.equal(first, draw(1, 5, 0))
    assert not any(torch.equal(first, draw(*other)) for other in ((2, 5, 0), (1, 6, 0), (1, 5, 1)))


def test_the_stand_in_of_another_processs_batch(tiny_corpus: Path) -> None:
    """fairseq gives a process that has run out of batches the first of all; here it is not among its own."""
    task, model = setup(tiny_corpus)
    iterator = iterate(task, num_shards=2, shard_id=1)
    iterator.next_epoch_itr(shuffle=False)
    assert len(RolloutsAhead(task, Sampling(), 2, [1], 1).draw(model, iterator.first_batch)) > 0


def test_the_model_that_is_decoded_from_is_not_touched(tiny_corpus: Path, tmp_path: Path) -> None:
    task, model = setup(tiny_corpus)
    before = copy.deepcopy(model.state_dict())
    live_translator(model, task, tmp_path, check=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())


def test_training_resumes_where_a_window_ends(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    """The same weights as in an unbroken run, over an epoch's end."""
    options = [*KD, "--teacher-path", str(tiny_teacher), "--rollout-refresh", "2", "--update-freq", "2"]
    train_command(tiny_corpus, tmp_path / "whole", *options, "--max-update", "8")
    train_command(tiny_corpus, tmp_path / "parts", *options, "--max-update", "2")
    train_command(tiny_corpus, tmp_path / "parts", *options, "--max-update", "8")
    whole, parts = (
        read_checkpoint(str(tmp_path / name / "checkpoint_last.pt"), "model") for name in ("whole", "parts")
    )
    # Of the buffers, fairseq 0.12 never sets _float_tensor.
    weights = {name: value for name, value in whole["model"].items() if is_parameter(name)}
    assert all(torch.equal(value, parts["model"][name]) for name, value in weights.items())


@pytest.mark.parametrize(
    ("options", "architecture", "said"),
    [
        (["--rollout-refresh", "-1"], "transformer", "give a number of updates"),
        (["--rollout-refresh", "2", "--prefixes", "gold"], "transformer", "draws no rollouts from the student"),
        (["--rollout-refresh", "2"], "lstm", "LSTMModel is no stock Transformer"),
        (
            ["--rollout-refresh", "2", "--no-token-positional-embeddings"],
            "transformer",
            "no-token-positional-embeddings",
        ),
        (["--rollout-refresh", "2", "--cross-self-attention"], "transformer", "gives other probabilities"),
    ],
)
def test_refusals(
    tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path, options: list[str], architecture: str, said: str
) -> None:
    teacher = ["--teacher-path", str(tiny_teacher)]
    done = train_command(tiny_corpus, tmp_path, *KD, *teacher, *options, architecture=architecture, check=False)
    assert done.returncode != 0 and said in done.stderr.strip().splitlines()[-1]


def test_no_ctranslate2(tiny_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(UserError, match="--rollout-refresh 2: ctranslate2 cannot be imported"):
        RolloutsAhead(setup(tiny_corpus)[0], Sampling(), 2, [1], 1)
