"""Data sets that are made: procedural signing, and sentences composed of clips."""
