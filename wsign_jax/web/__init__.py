"""The page: what a browser needs to record and recognize signing, served or written as a static site."""
