"""What decoding with a model costs: seconds, memory, and the price of a lexical shortlist."""
