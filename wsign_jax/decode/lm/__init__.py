"""Language models of glosses: estimated, kept as ARPA files, looked up while decoding."""
