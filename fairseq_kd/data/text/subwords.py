"""How subwords are joined to text. It imports neither torch nor fairseq, so that `--help` is quick."""

import re

POST_PROCESSES = ("sentencepiece", "subword_nmt", "none")
"""How subwords are joined to text, fairseq's names."""
BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""A byte-fallback piece of sentencepiece."""


def written(piece: str) -> bytes:
    """What a piece adds to its text, in UTF-8: a byte-fallback piece adds its byte, any other piece its characters."""
    byte = BYTE.fullmatch(piece)
    return bytes.fromhex(byte[1]) if byte else piece.encode()
