"""Measurements in turn, each in a process of its own, and a process's memory."""
