"""A trained run opened for use, scored on a split, its decoders tuned."""
