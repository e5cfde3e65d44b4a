"""Measurements in turn, and a process's memory."""
