"""Counts the calls of a peer's task at the least cost: each appends one byte to a file, whose size is the count."""

import os

_descriptor = os.open(os.environ["PEER_COUNT_FILE"], os.O_WRONLY | os.O_APPEND)


def count_call() -> None:
    """Count one call; atomic across threads and processes."""
    os.write(_descriptor, b".")
