"""RQ: a process for each job; no results."""

import importlib
import os
import sys

from count import count_call


def noop(item: int) -> None:
    """Does nothing."""
    del item
    count_call()


if __name__ == "__main__":
    _redis = importlib.import_module("redis")
    _rq = importlib.import_module("rq")
    _queue = _rq.Queue(connection=_redis.Redis.from_url(os.environ["PEER_REDIS_URL"]))
    _queue.enqueue_many(
        [_queue.prepare_data("rq_peer.noop", (number,), result_ttl=0) for number in range(int(sys.argv[1]))]
    )
