"""Frames or pictures as they come, glosses as soon as they are stable."""
