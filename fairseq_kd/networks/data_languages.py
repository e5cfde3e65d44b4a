"""The languages that a model reads a data-bin in."""

from pathlib import Path

from fairseq_kd.data.databins.files import UNNAMED, Languages, choose_pair
from fairseq_kd.data.databins.own_dictionaries import recorded_languages_of
from fairseq_kd.networks.checkpoints import check_checkpoint


def data_languages(
    data: str | Path, model: str | Path, given: Languages = UNNAMED, role: str = "model"
) -> tuple[str, str]:
    """Source and target language for a data-bin: those given, else the folder's only pair, else the checkpoint's.

    Args:
        data: the data-bin; of several, ``a:b``, the first.
        model: a checkpoint. It is read where the folder holds several pairs, and taken where it recorded one of them.
        given: languages that the user named; they may be those of the files in the other direction.
        role: what errors call the checkpoint.

    Raises:
        UserError: as :func:`fairseq_kd.data.databins.files.choose_pair`, or the checkpoint is needed and damaged.
    """
    return choose_pair(data, given, lambda: recorded_languages_of(check_checkpoint(model, role)))
