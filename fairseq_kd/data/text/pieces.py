"""Sentencepiece models read from files."""

from pathlib import Path

import sentencepiece

from fairseq_kd.errors import UserError


def load_spm(path: Path, option: str = "--spm-model") -> sentencepiece.SentencePieceProcessor:
    """A sentencepiece model read from a file.

    Args:
        path: the file.
        option: the option that names it, for errors.

    Raises:
        UserError: the file is missing or not a sentencepiece model.
    """
    if not path.is_file():
        raise UserError(f"{option} {path}: no such file")
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError):
        raise UserError(f"{option} {path}: not a sentencepiece model") from None
