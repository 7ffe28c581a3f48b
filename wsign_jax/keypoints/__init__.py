"""Hand keypoints and how they are extracted; never imports jax, flax or optax."""
