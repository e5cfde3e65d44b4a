"""Gates between sentence-level and token-level loss."""
