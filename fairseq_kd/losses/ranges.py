"""The ranges of options that criterions, gates and the cache share; an error names the option."""

import math

from fairseq_kd.errors import UserError


def check_share(option: str, value: float) -> None:
    """Refuse a weight of which another loss gets the remainder to 1, unless it is in [0, 1].

    Raises:
        UserError: it is not.
    """
    if not 0 <= value <= 1:
        raise UserError(f"{option} {value}: give a weight between 0 and 1")


def check_weight(option: str, value: float) -> None:
    """Refuse a weight that is negative or not finite.

    Raises:
        UserError: it is.
    """
    if not 0 <= value < math.inf:
        raise UserError(f"{option} {value}: give a weight of at least 0")


def check_temperature(option: str, value: float) -> None:
    """Refuse a temperature that is not above 0, or not finite.

    Raises:
        UserError: it is not.
    """
    if not 0 < value < math.inf:
        raise UserError(f"{option} {value}: give a temperature above 0")


def check_kept(option: str, k: int, vocabulary: int, *, or_all: bool = False) -> None:
    """Refuse a number of kept symbols that leaves fewer than two for the bucket of all others.

    Args:
        option: the option that gave it.
        k: how many of the likeliest symbols are kept.
        vocabulary: number of symbols.
        or_all: whether the option can also be 0, for all symbols; the message then says so.

    Raises:
        UserError: k is below 1, or not below ``vocabulary`` − 1.
    """
    if not 1 <= k < vocabulary - 1:
        raise UserError(
            f"{option} {k}: give at least 1 and less than {vocabulary - 1}, the vocabulary's {vocabulary} symbols "
            f"less one{', or 0 for all' if or_all else ''}"
        )
