"""Scores, teacher-forced measures, risks and costs of a model."""
