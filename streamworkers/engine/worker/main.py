"""The process of a worker. Run as `python -m streamworkers.engine.worker.main`; only the supervisor starts it."""

import argparse
import ctypes
import os
import signal
import sys
import threading

from streamworkers.config import load_settings
from streamworkers.database import SessionLimits, open_pool
from streamworkers.engine.protocol import StatusPipe
from streamworkers.engine.redis.streams import open_streams
from streamworkers.engine.registry import installed_jobs
from streamworkers.engine.worker.worker import Worker
from streamworkers.errors import UsageError
from streamworkers.logs import configure_logs

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Connect, load the jobs, work, and end with the supervisor."""
    parser = argparse.ArgumentParser(prog="streamworkers.engine.worker.main")
    parser.add_argument("--consumer", required=True)
    parser.add_argument("--queues", required=True)
    parser.add_argument("--status-fd", type=int, required=True)
    parser.add_argument("--life-fd", type=int, required=True)
    words = parser.parse_args()
    for descriptor in (words.status_fd, words.life_fd):
        # A process that a handler starts must not keep the pipes open after this one has ended.
        os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _end_with_supervisor_by_kernel()
    threading.Thread(target=_die_with_supervisor, args=(words.life_fd,), name="life", daemon=True).start()
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    if settings.redis_url is None or settings.database_url is None:
        raise UsageError(
            "a worker needs STREAMWORKERS_REDIS_URL and STREAMWORKERS_DATABASE_URL, which its supervisor sets"
        )
    streams = open_streams(settings.redis_url.get_secret_value(), settings.key_prefix)
    registry, queues = installed_jobs(), words.queues.split(",")
    worker = Worker(settings, registry, streams, queues, words.consumer, StatusPipe(words.status_fd))
    signal.signal(signal.SIGTERM, worker.request_stop)
    with open_pool(
        settings.database_url.get_secret_value(),
        application=words.consumer,
        max_size=2,
        limits=SessionLimits.of(settings).for_user_code(registry.longest_call_seconds(queues)),
    ) as pool:
        worker.run(pool)
    streams.close()


def _end_with_supervisor_by_kernel() -> None:
    """Let the kernel end this process with its supervisor (Linux), also while a handler holds the interpreter lock.

    The thread that waits for the pipe does the same elsewhere, and for a supervisor that died before this call.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _die_with_supervisor(descriptor: int) -> None:
    """Wait for the supervisor's death, which closes the pipe, and end at once: the leases are not renewed any more."""
    while os.read(descriptor, 1):
        pass
    os._exit(70)


if __name__ == "__main__":
    main()
