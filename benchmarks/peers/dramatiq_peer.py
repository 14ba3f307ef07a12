"""Dramatiq with its Redis broker: acknowledges after execution; no results, default middleware."""

import importlib
import os
import sys

from count import count_call

_dramatiq = importlib.import_module("dramatiq")
_brokers = importlib.import_module("dramatiq.brokers.redis")
broker = _brokers.RedisBroker(url=os.environ["PEER_REDIS_URL"])
_dramatiq.set_broker(broker)


def noop(item: int) -> None:
    """Does nothing."""
    del item
    count_call()


task = _dramatiq.actor(noop)

if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        task.send(number)
