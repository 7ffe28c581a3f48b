"""Checkpoints: written, checked, mirrored, and where each file of a run's folder lies."""
