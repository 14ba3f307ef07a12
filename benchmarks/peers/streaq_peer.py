"""streaQ on Redis Streams: acknowledges after execution; no results kept, 32 tasks at once, as in its own benchmark."""

import asyncio
import importlib
import os
import sys
from typing import Any

from count import count_call

_coredis = importlib.import_module("coredis.pool")
_streaq = importlib.import_module("streaq")
_locations = importlib.import_module("coredis.connection")
_location = _locations.UnixDomainSocketLocation(os.environ["PEER_REDIS_SOCKET"])
worker = _streaq.Worker(redis_pool=_coredis.ConnectionPool(location=_location, decode_responses=True), concurrency=32)


async def noop(item: int) -> None:
    """Does nothing."""
    del item
    count_call()


task: Any = worker.task(ttl=0, silent=True)(noop)


async def fill(items: int) -> None:
    """Add the messages."""
    async with worker:
        for start in range(0, items, 100):
            await worker.enqueue_many([task.enqueue(item) for item in range(start, min(items, start + 100))])


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])))
