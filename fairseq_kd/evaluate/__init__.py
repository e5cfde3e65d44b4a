"""Scores, speed, tables and pictures."""
