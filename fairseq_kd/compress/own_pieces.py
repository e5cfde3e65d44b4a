"""Whether a sentencepiece model is the one that cut a model's training text."""

import logging
from pathlib import Path

from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.text.pieces import load_spm
from fairseq_kd.errors import UserError

logger = logging.getLogger(__name__)

MOST_FOREIGN = 0.2
"""The largest share of a dictionary's symbols that are no pieces, such as rare characters."""


def check_own_pieces(path: Path, task: TranslationTask) -> None:
    """Raise a UserError unless nearly all symbols of a model's dictionaries are pieces of a sentencepiece model.

    Warn where the dictionaries lack many of its pieces, as if it belonged to a teacher with more symbols.

    Args:
        path: the sentencepiece model.
        task: with the model's dictionaries.

    Raises:
        UserError: the file is missing, is no sentencepiece model, or belongs to another model.
    """
    spm, known = load_spm(path), set()
    for dictionary in (task.source_dictionary, task.target_dictionary):
        symbols = [one for one in dictionary.symbols[dictionary.nspecial :] if not one.startswith("madeupword")]
        foreign = [symbol for symbol in symbols if spm.is_unknown(spm.piece_to_id(symbol))]
        if len(foreign) > MOST_FOREIGN * len(symbols):
            share = len(foreign) / len(symbols)
            raise UserError(
                f"--spm-model {path}: it lacks {share:.0%} of the symbols of a dictionary of the model (the first is "
                f"{foreign[0]!r}), more than {MOST_FOREIGN:.0%}; give the one that cut the model's training text"
            )
        known.update(symbols)
    ids = range(spm.get_piece_size())
    pieces = [spm.id_to_piece(i) for i in ids if not (spm.is_control(i) or spm.is_unknown(i) or spm.is_unused(i))]
    unknown = sum(piece not in known for piece in pieces)
    if unknown > MOST_FOREIGN * len(pieces):
        logger.warning(
            "--spm-model %s: %.0f%% of its pieces are not in the model's dictionaries and become <unk>; did it cut the "
            "model's training text?", path, 100 * unknown / len(pieces),
        )  # fmt: skip
