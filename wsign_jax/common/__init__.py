"""Errors, files, tables and progress; knows neither signs nor jax."""
