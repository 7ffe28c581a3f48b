"""Keypoints of hands: what a frame of them is. Never imports jax, flax or optax."""
