"""A teacher's translations of a text, and the data-bin that they make."""
