"""Opens a trained run, scores it on a split, and tunes its decoders."""
