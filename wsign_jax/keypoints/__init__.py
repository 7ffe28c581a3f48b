"""From pixels to keypoints: numpy, PyAV and MediaPipe; never jax, flax or optax."""
