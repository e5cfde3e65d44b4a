"""What only a GPU can say: each of its paths against the CPU's numbers, and its speeds.

`scripts/gpu_check.sh` runs this package.
"""

PARTS = ("paths", "losses", "training", "speeds")
"""What the check measures."""
