"""fairseq-train's options, and the batches that it makes of them, in this process."""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from fairseq import options as fairseq_options
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask

import fairseq_kd


def parse_training(words: Sequence[str]) -> argparse.Namespace:
    """fairseq-train's options from the words of a command line; the plugin's task and criterions are known."""
    fairseq_kd.register()
    return fairseq_options.parse_args_and_arch(fairseq_options.get_training_parser(), input_args=list(words))


def training_batches(task: TranslationTask, model: BaseFairseqModel, max_tokens: int) -> Iterator[dict[str, Any]]:
    """The batches of the first epoch, in fairseq-train's order for seed 1; the split "train" is loaded for them."""
    task.load_dataset("train")
    return task.get_batch_iterator(
        task.dataset("train"),
        max_tokens=max_tokens,
        max_positions=model.max_positions(),
        ignore_invalid_inputs=True,
        seed=1,
    ).next_epoch_itr(shuffle=True)
