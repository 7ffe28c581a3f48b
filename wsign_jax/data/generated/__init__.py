"""Generated data sets: procedural signing, and sentences composed of clips."""
