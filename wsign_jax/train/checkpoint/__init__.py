"""Checkpoints: how they are written, checked and mirrored, and where a run's files lie."""
