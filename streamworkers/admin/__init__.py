"""What people do to runs: cancel, retry, replay, purge."""
