"""Speed of drawing sequences from a student."""

import statistics
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from fairseq import search, tasks, utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.sequence_generator import SequenceGenerator

from fairseq_kd.benchmark.training_options import parse_training, training_batches
from fairseq_kd.decoding.options import Sampling
from fairseq_kd.decoding.sampling.rollouts import draw_rollouts
from fairseq_kd.networks.checkpoints import build_models
from fairseq_kd.tasks.rollouts_ahead import RolloutsAhead

TOKENS = 10_000
"""The time of so many drawn tokens is reported."""


def measure_rollouts(
    way: str, student: str, data: str, options: list[str], batches: int, steps: int
) -> dict[str, float]:
    """Time the drawing of sequences from a student, over the same batches again and again.

    Args:
        way: "generator" for fairseq's own sampling, "current" for rollouts with the current weights, "ahead" for
            rollouts drawn ahead, with the conversion that they need.
        student: its checkpoint.
        data: the data-bin.
        options: of fairseq-train.
        batches: how many.
        steps: how often they are all drawn for.

    Returns:
        "seconds" for 10,000 tokens, and "tokens_per_second"; medians.
    """
    arguments = parse_training([data, "--task", "translation_kd", *options])
    task = tasks.setup_task(convert_namespace_to_omegaconf(arguments).task)
    (model,) = build_models([student], task, role="student")
    model = model.cuda() if torch.cuda.is_available() else model
    iterator = islice(training_batches(task, model, arguments.max_tokens), batches)
    samples = [utils.move_to_cuda(one) if torch.cuda.is_available() else one for one in iterator]
    torch.manual_seed(1)
    draw, seconds = _drawer(way, task, model, batches), []
    for number in range(steps + 1):
        task.update, tokens, start = number * batches, 0, time.perf_counter()
        for sample in samples:
            tokens += draw(sample)  # counting them waits for a GPU
        seconds.append((time.perf_counter() - start) / tokens)
    each = statistics.median(seconds[1:])  # the first step warms up
    return {"seconds": TOKENS * each, "tokens_per_second": 1 / each}


def _drawer(way: str, task: Any, model: Any, updates: int) -> Callable[[dict[str, Any]], int]:
    """A function that draws a sequence for each source of a batch and returns the number of tokens drawn."""
    sampling, dictionary = Sampling(), task.target_dictionary
    if way == "generator":
        limits = {"max_len_a": sampling.max_len_a, "max_len_b": sampling.max_len_b}
        generator = SequenceGenerator([model], dictionary, 1, **limits, search_strategy=search.Sampling(dictionary))
        return lambda sample: sum(len(one["tokens"]) for one, *_ in generator.generate([model], sample))
    if way == "ahead":
        ahead = RolloutsAhead(task, sampling, updates, [1], seed=1)
        return lambda sample: int(ahead.draw(model, sample).ne(dictionary.pad()).sum())
    return lambda sample: int(
        draw_rollouts([model], sample, sampling, (1, task.update), dictionary).ne(dictionary.pad()).sum()
    )
