"""What can be chosen in pruning, exporting and copying layers. It imports no torch, so that `--help` is quick."""

from dataclasses import dataclass
from pathlib import Path

from fairseq_kd.errors import UserError

SCHEMES = ("class-blind", "class-uniform", "class-distribution")
"""How the classes of weights share the zeros; the first is the default."""
FORMATS = ("ctranslate2", "sparse", "fairseq")
"""What `fairseq-kd export` writes."""
SENTENCEPIECE = "spm.model"
"""The sentencepiece model's name in an exported folder."""
WIDTHS = ("encoder_embed_dim", "decoder_embed_dim", "encoder_ffn_embed_dim", "decoder_ffn_embed_dim")
"""Widths of a Transformer, which a student that copies layers shares with its teacher."""


@dataclass(frozen=True)
class ShortlistOptions:
    """How a lexical shortlist is made.

    Attributes:
        text: a data-bin, or the beginning of the names of two files in subwords that end with the languages.
        candidates: how many target symbols a source symbol allows.
        frequent: how many of the most frequent target symbols every source allows.

    Raises:
        UserError: a number is below 1.
    """

    text: Path
    candidates: int = 50
    frequent: int = 100

    def __post_init__(self) -> None:
        for name in ("candidates", "frequent"):
            if getattr(self, name) < 1:
                raise UserError(f"--shortlist-{name} {getattr(self, name)}: give 1 or more")
