"""CTranslate2: models made from fairseq checkpoints, and fairseq's beam search made of its own."""
