"""The whole suite on every supported Redis, PostgreSQL and Python: `make test-matrix`."""
