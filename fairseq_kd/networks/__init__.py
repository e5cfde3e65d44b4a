"""Models: checkpoints, frozen teachers, next-token distributions, hidden states, parameters."""
