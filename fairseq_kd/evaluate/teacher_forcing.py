"""Teacher-forced measures: on gold prefixes, what a model predicts, how often it is right, and how unsure it is."""

from collections.abc import Sequence
from typing import Any

import torch
from fairseq import utils
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.decoding.interface import batches
from fairseq_kd.losses.token_values import entropies, truncated
from fairseq_kd.networks.distributions import next_tokens, real_tokens


@torch.no_grad()
def teacher_forced(
    models: Sequence[BaseFairseqModel], task: TranslationTask, subset: str, max_tokens: int
) -> dict[str, Any] | None:
    """How well a model predicts each next token of the gold target; ``</s>`` counts as a token.

    Args:
        models: in eval mode; of several, the mean of their probabilities counts.
        task: with ``subset`` loaded.
        subset: the split.
        max_tokens: source or target tokens in a batch.

    Returns:
        "accuracy": the share of tokens for which the likeliest one is right, in percent. "entropy": of a token's
        distribution in nats, the mean over tokens. "correct" and "tokens": each row's right tokens and all its tokens.
        "predicted": each row's likeliest tokens as text with spaces between them; ``</s>`` is left out wherever a model
        predicts it, and the text goes on behind it. None if the split has no target side.

        A row that the models cannot take (an empty source, a side longer than their positions) has no token right, no
        prediction, and does not count in the entropy; the entropy is None if no row counts.
    """
    dataset = task.dataset(subset)
    if dataset.tgt is None:
        return None
    if torch.cuda.is_available():
        models = [model.cuda() for model in models]
    most = [min(model.max_positions()[side] for model in models) for side in (0, 1)]
    lengths = {
        row: int(max(sizes))
        for row, sizes in enumerate(dataset.sizes)
        if 1 < sizes[0] <= most[0] and sizes[1] <= most[1]
    }
    correct, predicted, entropy, asked = [0] * len(dataset), [""] * len(dataset), 0.0, 0
    for batch in batches(lengths, max_tokens):
        sample = dataset.collater([dataset[row] for row in batch])
        sample = utils.move_to_cuda(sample) if torch.cuda.is_available() else sample
        real = real_tokens(sample["target"], task.target_dictionary.pad())
        answers = [next_tokens(model, sample, real) for model in models]
        likeliest = truncated(answers, 1, 1.0).ids.squeeze(1)
        entropy += float(entropies(answers).double().sum())
        asked += len(likeliest)
        right = torch.zeros_like(sample["target"])
        right[real] = (likeliest == sample["target"][real]).to(right.dtype)
        lines = likeliest.split(real.sum(dim=1).tolist())  # real tokens lie row after row
        for row, count, line in zip(sample["id"].tolist(), right.sum(dim=1).tolist(), lines, strict=True):
            correct[row], predicted[row] = count, task.target_dictionary.string(line.cpu())
    tokens = [int(size) for size in dataset.tgt_sizes]
    return {
        "accuracy": 100 * sum(correct) / sum(tokens),
        "entropy": entropy / asked if asked else None,
        "correct": correct,
        "tokens": tokens,
        "predicted": predicted,
    }
