"""Celery with `acks_late` on Redis: acknowledges after execution; no results, prefork, prefetch of 100 a process."""

import importlib
import os
import sys

from count import count_call

_celery = importlib.import_module("celery")
app = _celery.Celery("celery_peer", broker=os.environ["PEER_CELERY_URL"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=100,
    broker_connection_retry_on_startup=True,
)


def noop(item: int) -> None:
    """Does nothing."""
    del item
    count_call()


task = app.task(noop, name="noop")

if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        task.delay(number)
