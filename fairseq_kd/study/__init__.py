"""Scores over an axis, and where lines cross."""
