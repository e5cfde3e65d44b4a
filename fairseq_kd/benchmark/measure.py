"""The other half of `fairseq-kd benchmark` and `evaluate --cost`: one measurement in a process of its own.

So its memory is its own too.

Run as ``python -m fairseq_kd.benchmark.measure KIND JSON``; the last line it prints is a JSON.
"""

import json
import logging
import resource
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from fairseq import options as fairseq_options
from fairseq import search, tasks, utils
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss
from fairseq.data.data_utils import post_process
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.sequence_generator import SequenceGenerator
from fairseq.trainer import Trainer
from sacrebleu.metrics import BLEU
from torch import Tensor
from torch.nn import functional

from fairseq_kd.benchmark.selection_speed import measure_selection
from fairseq_kd.data.databin import open_databin
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.options import DecodingOptions, Sampling
from fairseq_kd.decoding.rollouts import draw_rollouts
from fairseq_kd.evaluate.decoding_cost import measure_cost
from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.fused import fused_loss
from fairseq_kd.networks.checkpoints import build_models, read_checkpoint
from fairseq_kd.storage.files import whole_file
from fairseq_kd.tasks.rollouts_ahead import RolloutsAhead

ALPHA, SMOOTHING = 0.5, 0.1


def device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def memory() -> float:
    """The most memory this process has held so far, in MiB: the GPU's where there is one, else resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(step: Callable[[int], object], warm_up: int, steps: int) -> dict[str, float]:
    """Median seconds of a step, and MiB that the steps took above what was there before."""
    before, seconds = memory(), []
    for number in range(warm_up + steps):
        start = time.perf_counter()
        step(number)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if number >= warm_up:
            seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds), "memory": memory() - before}


def measure_loss(loss: str, vocabulary: int, tokens: int, width: int, teacher_width: int) -> dict[str, float]:
    """Forward and backward of one loss from decoder features on, the projections included."""
    torch.manual_seed(1)
    place = device()
    student, teacher = (
        (torch.randn(tokens, size, device=place), torch.randn(vocabulary, size, device=place) * size**-0.5)
        for size in (width, teacher_width)
    )
    target = torch.randint(vocabulary, (tokens,), device=place)

    def step(_: int) -> None:
        own = [tensor.detach().requires_grad_() for tensor in student]
        LOSSES[loss](own, teacher, target).backward()

    return timed(step, warm_up=2, steps=5)


def _dense_kd(student: list[Tensor], teacher: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    """The textbook: log_softmax on both sides, F.kl_div, mask, sum; and the NLL."""
    log_q = functional.log_softmax(functional.linear(*student), dim=-1)
    with torch.no_grad():
        log_p = functional.log_softmax(functional.linear(*teacher), dim=-1)
    padding = target.lt(0)  # there is none here
    divergence = functional.kl_div(log_q, log_p, reduction="none", log_target=True)
    divergence = divergence.masked_fill(padding.unsqueeze(-1), 0.0).sum()
    nll = functional.nll_loss(log_q, target, reduction="none").masked_fill(padding, 0.0).sum()
    return (1 - ALPHA) * nll + ALPHA * divergence


def _stock_ce(student: list[Tensor], _: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    log_q = functional.log_softmax(functional.linear(*student), dim=-1)
    return label_smoothed_nll_loss(log_q, target.unsqueeze(-1), SMOOTHING)[0]


def _fused_kd(student: list[Tensor], teacher: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    objective = Objective(hard_weight=1 - ALPHA, soft_weight=ALPHA)
    return fused_loss(NextTokens(*student), target, objective, [NextTokens(*teacher)]).loss


def _fused_ce(student: list[Tensor], _: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    return fused_loss(NextTokens(*student), target, Objective(label_smoothing=SMOOTHING)).loss


LOSSES: dict[str, Callable[[list[Tensor], tuple[Tensor, Tensor], Tensor], Tensor]] = {
    "dense_kd": _dense_kd,
    "fused_kd": _fused_kd,
    "stock_ce": _stock_ce,
    "fused_ce": _fused_ce,
}


def measure_training(data: str, options: list[str], steps: int, start: str | None = None) -> dict[str, float]:
    """Whole updates of fairseq's own trainer, clipping and optimiser included; from new weights or a checkpoint's."""
    words = [data, *options, *([] if torch.cuda.is_available() else ["--cpu"])]
    arguments = fairseq_options.parse_args_and_arch(fairseq_options.get_training_parser(), input_args=words)
    config = convert_namespace_to_omegaconf(arguments)
    before = memory()
    torch.manual_seed(1)
    task = tasks.setup_task(config.task)
    model = task.build_model(config.model)
    if start is not None:
        model.load_state_dict(read_checkpoint(start, role="student")["model"])
    trainer = Trainer(config, task, model, task.build_criterion(config.criterion))
    task.load_dataset("train")
    batches = task.get_batch_iterator(
        task.dataset("train"),
        max_tokens=config.dataset.max_tokens,
        max_positions=model.max_positions(),
        ignore_invalid_inputs=True,
        seed=1,
    ).next_epoch_itr(shuffle=True)
    samples = [next(batches) for _ in range(steps + 3)]
    with metrics.aggregate("train"):
        figures = timed(lambda number: trainer.train_step([samples[number]]), warm_up=3, steps=steps)
    # All of one model's training, the teacher included, which is loaded at the first step.
    return {**figures, "memory": memory() - before}


def measure_decoding(
    model: str, data: str, rows: int, engine: str, precision: str, output: str, reference: str
) -> dict[str, float]:
    """Beam search over the first rows of the training set: sentences a second, BLEU, and the share of equal lines.

    The translations are written to ``output``; the lines of ``reference``, which may be the same file, are what they
    are compared with.
    """
    task = open_databin(data, "train")
    dataset = task.dataset("train")
    sources = [dataset.src[row] for row in range(min(rows, len(dataset)))]
    references = [task.target_dictionary.string(dataset.tgt[row]) for row in range(len(sources))]
    decoder = choose_engine(engine, precision, [model], task).build()
    search = DecodingOptions(beam=5, max_len_a=1.2, max_len_b=10)
    decoder.translate(sources[:64], search)
    start = time.perf_counter()
    found = [best[0].tokens for best in decoder.translate(sources, search)]
    seconds = time.perf_counter() - start
    with whole_file(output) as handle:
        handle.writelines(f"{line}\n" for line in found)
    others = Path(reference).read_text(encoding="utf-8").split("\n")[:-1]
    joined = [[post_process(line, "sentencepiece") for line in lines] for lines in (found, references)]
    return {
        "seconds": seconds,
        "sentences_per_second": len(sources) / seconds,
        "bleu": BLEU().corpus_score(joined[0], [joined[1]]).score,
        "identical": sum(map(str.__eq__, found, others)) / len(found),
    }


def measure_rollouts(
    way: str, student: str, data: str, options: list[str], batches: int, steps: int
) -> dict[str, float]:
    """Seconds for 10,000 tokens drawn from a student, over the same batches again and again."""
    words = [data, "--task", "translation_kd", *options]
    arguments = fairseq_options.parse_args_and_arch(fairseq_options.get_training_parser(), input_args=words)
    task = tasks.setup_task(convert_namespace_to_omegaconf(arguments).task)
    model = build_models([student], task, role="student")[0].to(device())
    task.load_dataset("train")
    iterator = task.get_batch_iterator(
        task.dataset("train"),
        max_tokens=arguments.max_tokens,
        max_positions=model.max_positions(),
        ignore_invalid_inputs=True,
        seed=1,
    ).next_epoch_itr(shuffle=True)
    samples = [utils.move_to_cuda(one) if torch.cuda.is_available() else one for one in islice(iterator, batches)]
    torch.manual_seed(1)
    draw, seconds = _draw(way, task, model, batches), []
    for number in range(steps + 1):
        task.update, tokens, start = number * batches, 0, time.perf_counter()
        for sample in samples:
            tokens += draw(sample)  # counting them waits for a GPU
        seconds.append((time.perf_counter() - start) / tokens)
    each = statistics.median(seconds[1:])  # the first is to warm up
    return {"seconds": 10000 * each, "tokens_per_second": 1 / each}


def _draw(way: str, task: Any, model: Any, updates: int) -> Callable[[dict[str, Any]], int]:
    """What draws a sequence for each source of a batch and tells how many tokens that was."""
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


KINDS: dict[str, Callable[..., dict[str, float]]] = {
    "loss": measure_loss,
    "training": measure_training,
    "decoding": measure_decoding,
    "cost": measure_cost,
    "rollouts": measure_rollouts,
    "selection": measure_selection,
}

if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(json.dumps(KINDS[sys.argv[1]](**json.loads(sys.argv[2]))))
