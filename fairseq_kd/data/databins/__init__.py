"""Data-bins: their files, dictionaries and rows."""
