"""Language models of glosses: counted, kept as ARPA files, looked up while decoding."""
