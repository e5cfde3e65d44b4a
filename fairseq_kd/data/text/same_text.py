"""Whether two texts are the same but for their subwords. Neither torch nor fairseq is imported."""

import re
import unicodedata

UNKNOWN = "<unk>"


def same_text(one: str, other: str) -> bool:
    """Whether two texts agree but for white space, case and compatible forms; unknown symbols match anything."""
    if one == other:
        return True
    first, second = (re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)).casefold() for text in (one, other))
    if UNKNOWN not in first + second:
        return first == second
    # Between its unknown symbols, a text must have the other's beginning and end.
    parts = [text.split(UNKNOWN) for text in (first, second)]
    starts, ends = [part[0] for part in parts], [part[-1] for part in parts]
    return (starts[0].startswith(starts[1]) or starts[1].startswith(starts[0])) and (
        ends[0].endswith(ends[1]) or ends[1].endswith(ends[0])
    )
