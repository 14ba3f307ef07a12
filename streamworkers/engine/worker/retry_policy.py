"""When a failed item is tried again: exponential backoff with full jitter."""

import random


def retry_delay_seconds(attempt: int, rng: random.Random, *, base_seconds: float, cap_seconds: float) -> float:
    """Seconds until the attempt after `attempt` (from 1): uniform between 0 and min(cap, base · 2^(attempt-1)).

    Full jitter spreads a crowd of items that failed together; its mean is half the bound.
    """
    bound = min(cap_seconds, base_seconds * 2.0 ** min(attempt - 1, 60))
    return rng.uniform(0.0, bound)
