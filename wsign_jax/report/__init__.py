"""From decoded sentences to numbers, files and a page that a person reads. Numpy and matplotlib only."""
