"""Smaller and deployable models."""
