"""Speed and memory of a training step."""

import torch
from fairseq import tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.trainer import Trainer

from fairseq_kd.benchmark.training_options import parse_training, training_batches
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.timing.step_time import peak_memory, time_steps

WARM_UP = 3


def measure_training(data: str, options: list[str], steps: int, start: str | None = None) -> dict[str, float]:
    """Time whole updates of fairseq's own trainer, clipping and optimiser included.

    Args:
        data: the data-bin.
        options: of fairseq-train.
        steps: how many updates are timed.
        start: checkpoint of the first weights; None for new ones.

    Returns:
        "seconds" of an update; "memory" in MiB of the whole training, the teacher included.
    """
    arguments = parse_training([data, *options, *([] if torch.cuda.is_available() else ["--cpu"])])
    config = convert_namespace_to_omegaconf(arguments)
    before = peak_memory()
    torch.manual_seed(1)
    task = tasks.setup_task(config.task)
    model = task.build_model(config.model)
    if start is not None:
        model.load_state_dict(read_checkpoint(start, role="student")["model"])
    trainer = Trainer(config, task, model, task.build_criterion(config.criterion))
    batches = training_batches(task, model, config.dataset.max_tokens)
    samples = [next(batches) for _ in range(steps + WARM_UP)]
    with metrics.aggregate("train"):
        figures = time_steps(lambda number: trainer.train_step([samples[number]]), warm_up=WARM_UP, steps=steps)
    # From before the model was built: a teacher is loaded at the first step only.
    return {**figures, "memory": peak_memory() - before}
