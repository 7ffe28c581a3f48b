"""The known corpora: one module reads one corpus as published, `prepare` makes the data set of it."""
