"""How subwords are joined to text. It imports neither torch nor fairseq, so that `--help` is quick."""

POST_PROCESSES = ("sentencepiece", "subword_nmt", "none")
"""How subwords are joined to text, fairseq's names."""
