"""Long sweeps: each stage is killed, filled up and run twice at once, many times. ``python -m tests.sweeps --help``."""
