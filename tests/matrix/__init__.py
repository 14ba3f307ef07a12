"""The whole suite on every pair of a supported Redis and a supported PostgreSQL: `make test-matrix`."""
