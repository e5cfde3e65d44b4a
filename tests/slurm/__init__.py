"""The workflow and a training of several processes on a real SLURM."""
