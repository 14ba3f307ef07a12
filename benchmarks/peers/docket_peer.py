"""Docket on Redis Streams: acknowledges after execution; no state kept, 50 tasks at once, slots filled every 10 ms.

Its connection pool has room for every task and for the worker's own calls: a worker that runs out of connections waits
five seconds, and leaves what it had read to be delivered again after five minutes.
"""

import asyncio
import importlib
import os
import sys
from datetime import timedelta
from typing import Any

from count import count_call

_docket = importlib.import_module("docket")
_CONCURRENCY = 50


async def noop(item: int) -> None:
    """Does nothing."""
    del item
    count_call()


def _open() -> Any:
    url = f"{os.environ['PEER_REDIS_URL']}?max_connections={2 * _CONCURRENCY}"
    return _docket.Docket(name="bench", url=url, execution_ttl=timedelta(0))


async def fill(items: int) -> None:
    """Add the messages."""
    async with _open() as docket:
        docket.register(noop)
        for start in range(0, items, _CONCURRENCY):
            numbers = range(start, min(items, start + _CONCURRENCY))
            await asyncio.gather(*(docket.add(noop)(number) for number in numbers))


async def work() -> None:
    """Execute tasks until the process is ended; Docket's own command keeps the state of each task for 15 minutes."""
    interval = timedelta(milliseconds=10)
    async with _open() as docket:
        docket.register(noop)
        async with _docket.Worker(docket, concurrency=_CONCURRENCY, minimum_check_interval=interval) as worker:
            await worker.run_forever()


if __name__ == "__main__":
    asyncio.run(work() if sys.argv[1] == "work" else fill(int(sys.argv[1])))
