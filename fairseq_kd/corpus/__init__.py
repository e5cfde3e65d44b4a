"""Corpora: made, prepared, decoded and merged."""
