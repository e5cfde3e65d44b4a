"""A lexical shortlist for CTranslate2, found and checked before a model gets it."""

from pathlib import Path

from fairseq.data import Dictionary

from fairseq_kd.decoding.options import VOCABULARY_MAP
from fairseq_kd.errors import UserError


def find_shortlist(path: Path, dictionary: Dictionary) -> Path:
    """The vocabulary map that ``--shortlist`` names.

    Args:
        path: the file, or a folder that ``fairseq-kd export --shortlist`` wrote.
        dictionary: of the model's target side.

    Raises:
        UserError: there is no such file, it is no vocabulary map, or it has symbols that the dictionary lacks.
    """
    file = path / VOCABULARY_MAP if path.is_dir() else path
    try:
        lines = file.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(
            f"--shortlist {file}: cannot be read ({reason}); give a folder of fairseq-kd export --shortlist"
        ) from None
    for number, line in enumerate(lines, 1):
        _, tab, allowed = line.partition("\t")
        if not tab:
            raise UserError(
                f"--shortlist {file}: line {number} has no tab; give a {VOCABULARY_MAP} of fairseq-kd export"
            )
        for symbol in filter(None, allowed.split(" ")):  # a symbol can hold another kind of space
            if symbol not in dictionary.indices:
                raise UserError(
                    f"--shortlist {file}: line {number} allows {symbol!r}, which the model's dictionary lacks; "
                    "make the shortlist with the model's own dictionaries"
                )
    return file
