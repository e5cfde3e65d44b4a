"""Random damage to each format of this package is noticed: the same answer, or one line."""
