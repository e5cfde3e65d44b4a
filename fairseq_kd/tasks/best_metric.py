"""``--best-checkpoint-metric``: the figure of a validation by which fairseq chooses ``checkpoint_best.pt``."""

from fairseq.data.iterators import EpochBatchIterating
from fairseq.logging import metrics

from fairseq_kd.errors import UserError


def refuse_unlogged(metric: str, iterator: EpochBatchIterating, split: str) -> None:
    """At the last batch of a validation, check that its batches have logged ``metric``; fairseq ends in a KeyError.

    Args:
        metric: --best-checkpoint-metric.
        iterator: of the validation set.
        split: its name, for the error.

    Raises:
        UserError: no batch has logged it.
    """
    if not iterator.end_of_epoch():  # a figure may come with a later batch
        return
    # Those of the whole validation are among them.
    logged = {name for one in metrics.get_active_aggregators() for name in one.get_smoothed_values()}
    if metric not in logged:
        raise UserError(
            f"--best-checkpoint-metric {metric}: validation on {split!r} logs no such figure, but "
            f"{', '.join(sorted(logged))}; give one of these, or for bleu --eval-bleu"
        )
