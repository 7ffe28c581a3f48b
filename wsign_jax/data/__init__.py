"""From a data set on disk to normalised, augmented, bucketed batches: numpy and grain, never flax."""
