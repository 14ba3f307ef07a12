"""A Redis Streams worker pool for market analysis: PostgreSQL is the truth, Redis is the transport."""

from importlib.metadata import version

__version__ = version("streamworkers")
