"""From a data set on disk to normalized, augmented, bucketed batches: numpy and grain, never flax."""
