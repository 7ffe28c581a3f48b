"""WhisperSign in JAX: hand keypoints in, sign glosses out."""
