"""Fake services for tests, demos and benchmarks: real servers that misbehave on demand."""
