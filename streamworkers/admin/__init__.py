"""Operations on runs: cancel, retry, replay, purge."""
