"""Losses, stages, one step, one loop, checkpoints and logs."""
