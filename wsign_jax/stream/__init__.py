"""Takes frames or pictures as they come, and gives glosses as soon as they are stable."""
