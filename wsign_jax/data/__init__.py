"""Turns a data set on disk into normalized, augmented, bucketed batches: numpy and grain, never flax."""
