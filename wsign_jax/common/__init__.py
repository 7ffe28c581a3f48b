"""Errors, files, tables and progress: nothing of signs, nothing of jax."""
