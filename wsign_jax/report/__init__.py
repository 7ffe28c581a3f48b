"""Turns decoded sentences into numbers, files and a page for a reader. Numpy and matplotlib only."""
