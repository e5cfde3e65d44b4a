"""Sequences drawn from models: ancestral sampling, and sampling with a beam."""
