"""Raw text becomes subwords, a dictionary and a data-bin."""
