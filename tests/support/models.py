"""What fairseq builds from its options, in this process."""

import copy
import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fairseq import options as fairseq_options
from fairseq import tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

import fairseq_kd
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.networks.second_copies import keep_one_copy

fairseq_kd.register()

ARCHITECTURES = {
    "transformer": "--arch transformer --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 "
    "--decoder-embed-dim 16 --encoder-ffn-embed-dim 32 --decoder-ffn-embed-dim 32 --encoder-attention-heads 2 "
    "--decoder-attention-heads 2",
    "lstm": "--arch lstm --encoder-embed-dim 16 --decoder-embed-dim 16 --encoder-hidden-size 16 "
    "--decoder-hidden-size 16 --decoder-out-embed-dim 16",
    "fconv": "--arch fconv --encoder-embed-dim 16 --decoder-embed-dim 16 --encoder-layers [(16,3)] "
    "--decoder-layers [(16,3)] --decoder-out-embed-dim 16",
    "lightconv": "--arch lightconv --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 --decoder-embed-dim 16 "
    "--encoder-conv-dim 16 --decoder-conv-dim 16 --encoder-ffn-embed-dim 32 --decoder-ffn-embed-dim 32 "
    "--encoder-attention-heads 2 --decoder-attention-heads 2 --encoder-kernel-size-list [3] "
    "--decoder-kernel-size-list [3] --input-dropout 0",
}


def assert_same_weights(first: Path, second: Path, **tolerance: float) -> None:
    """The same model in both checkpoints, and the same state of the criterion."""
    one, other = (read_checkpoint(path) for path in (first, second))
    one, other = ({**state["model"], **(state["criterion"] or {})} for state in (one, other))
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def configured(data: Path, *options: str, architecture: str = "transformer") -> Any:
    """What fairseq-train makes of its options."""
    return copy.deepcopy(_configured(str(data), *options, architecture=architecture))


@functools.cache
def _configured(data: str, *options: str, architecture: str) -> Any:
    """The same, made once: hydra takes half a second, and many tests ask for the same."""
    shared = f"--cpu --optimizer adam {ARCHITECTURES[architecture]} --dropout 0"
    words = [data, *shared.split(), *options]
    arguments = fairseq_options.parse_args_and_arch(fairseq_options.get_training_parser(), input_args=words)
    return convert_namespace_to_omegaconf(arguments)


def build(data: Path, *options: str, architecture: str = "transformer", seed: int = 1) -> tuple[Any, Any, Any]:
    """What fairseq-train builds from its options, in this process: task, model (initialised by ``seed``), criterion.

    The model lacks the second copies of fairseq 0.12.2, which other tasks than the plugin's leave in it.
    """
    config = configured(data, *options, architecture=architecture)
    task = tasks.setup_task(config.task)
    torch.manual_seed(seed)
    model = task.build_model(config.model)
    keep_one_copy(model)
    return task, model, task.build_criterion(config.criterion)


def batch(task: Any, split: str, rows: list[int]) -> dict[str, Any]:
    """The batch that fairseq makes of these rows."""
    if split not in task.datasets:
        task.load_dataset(split)
    dataset = task.dataset(split)
    return dataset.collater([dataset[row] for row in rows])


def edited(checkpoint: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a checkpoint after ``change``, beside a copy of its dictionaries."""
    state = torch.load(checkpoint, weights_only=True)
    change(state)
    for name in ("dict.src.txt", "dict.tgt.txt"):
        shutil.copy(checkpoint.with_name(name), folder)
    torch.save(state, folder / "edited.pt")
    return folder / "edited.pt"
