"""Text in subwords: joined, cut, compared."""
