"""The maths: divergences, and losses computed chunk by chunk."""
