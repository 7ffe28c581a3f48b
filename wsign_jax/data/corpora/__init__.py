"""The known corpora: each module reads one corpus as published; `prepare` makes a data set of it."""
