"""Taskiq on Redis Streams: acknowledges after execution, which is the default of its worker."""

import asyncio
import importlib
import os
import sys

from count import count_call

_taskiq_redis = importlib.import_module("taskiq_redis")
broker = _taskiq_redis.RedisStreamBroker(os.environ["PEER_REDIS_URL"])


async def noop(item: int) -> None:
    """Does nothing."""
    del item
    count_call()


task = broker.task(task_name="noop")(noop)


async def fill(items: int) -> None:
    """Add the messages."""
    await broker.startup()
    for start in range(0, items, 200):
        await asyncio.gather(*(task.kiq(item) for item in range(start, min(items, start + 200))))
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])))
