"""Sequence interpolation: of n-best lists, what is closest to the gold target (Kim & Rush 2016, section 3.3)."""
