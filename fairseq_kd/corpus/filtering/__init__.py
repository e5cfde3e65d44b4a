"""Rows of a corpus that teach little are dropped."""
