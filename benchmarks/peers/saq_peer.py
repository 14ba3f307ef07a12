"""SAQ: an active job is kept until it ran; no results, 20 jobs at once in each process."""

import asyncio
import importlib
import os
import sys
from typing import Any

from count import count_call

_redis = importlib.import_module("redis.asyncio")
_queues = importlib.import_module("saq.queue.redis")
queue = _queues.RedisQueue(_redis.Redis.from_url(os.environ["PEER_REDIS_URL"]))


async def noop(context: dict[str, Any], *, item: int) -> None:
    """Does nothing."""
    del context, item
    count_call()


settings = {"queue": queue, "functions": [("noop", noop)], "concurrency": 20}


async def fill(items: int) -> None:
    """Add the messages."""
    await queue.connect()
    for start in range(0, items, 100):
        await asyncio.gather(
            *(queue.enqueue("noop", item=item, ttl=-1) for item in range(start, min(items, start + 100)))
        )
    await queue.disconnect()


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])))
