"""arq: a job stays in its sorted set until it ran; no results, 100 jobs at once, a queue read every 10 ms."""

import asyncio
import importlib
import os
import sys
from typing import Any

from count import count_call

_connections = importlib.import_module("arq.connections")


async def noop(context: dict[str, Any], item: int) -> None:
    """Does nothing."""
    del context, item
    count_call()


class WorkerSettings:
    """The settings that `arq` reads."""

    functions = (noop,)
    redis_settings = _connections.RedisSettings(unix_socket_path=os.environ["PEER_REDIS_SOCKET"])
    keep_result = 0
    max_jobs = 100
    poll_delay = 0.01


async def fill(items: int) -> None:
    """Add the messages."""
    pool = await _connections.create_pool(WorkerSettings.redis_settings)
    for start in range(0, items, 100):
        await asyncio.gather(*(pool.enqueue_job("noop", item) for item in range(start, min(items, start + 100))))


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])))
