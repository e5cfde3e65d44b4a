"""What can be chosen in pruning, exporting and copying layers. It imports no torch, so that `--help` is quick."""

SCHEMES = ("class-blind", "class-uniform", "class-distribution")
"""How the classes of weights share the zeros; the first is the default."""
FORMATS = ("ctranslate2", "sparse", "fairseq")
"""What `fairseq-kd export` writes."""
SENTENCEPIECE = "spm.model"
"""The sentencepiece model's name in an exported folder."""
WIDTHS = ("encoder_embed_dim", "decoder_embed_dim", "encoder_ffn_embed_dim", "decoder_ffn_embed_dim")
"""Widths of a Transformer, which a student that copies layers shares with its teacher."""
