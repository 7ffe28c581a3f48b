"""Training: losses, stages, the step, the loop, checkpoints and logs."""
