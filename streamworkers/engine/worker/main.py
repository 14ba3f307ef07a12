"""The process of a worker, forked by the fork server or started by its supervisor as a fresh interpreter.

The latter runs `python -m streamworkers.engine.worker.main`.
"""

import argparse
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streamworkers.config import load_settings
from streamworkers.database import SessionLimits, open_pool
from streamworkers.engine.processes import become_subreaper, die_with_parent, set_process_name
from streamworkers.engine.protocol import StatusPipe
from streamworkers.engine.redis.lanes import list_queues_of
from streamworkers.engine.redis.streams import open_streams
from streamworkers.engine.registry import JobClass, Registry, load_job_classes
from streamworkers.engine.worker.call_log import add_call_fields, take_over_output
from streamworkers.engine.worker.worker import Worker
from streamworkers.errors import UsageError
from streamworkers.hooks import HookClass, load_hook_classes
from streamworkers.logs import configure_logs

PROCESS_NAME = "sw-worker"


class LoadedClasses(NamedTuple):
    """The classes of jobs and hooks that are installed."""

    jobs: Sequence[JobClass]
    hooks: Mapping[str, HookClass]


def main() -> None:
    """Load the jobs and work, in an interpreter of its own, and end with the supervisor."""
    parser = argparse.ArgumentParser(prog="streamworkers.engine.worker.main")
    parser.add_argument("--consumer", required=True)
    parser.add_argument("--queues", required=True)
    parser.add_argument("--status-fd", type=int, required=True)
    parser.add_argument("--life-fd", type=int, required=True)
    words = parser.parse_args()
    for descriptor in (words.status_fd, words.life_fd):
        # A process that a handler starts must not keep the pipes open after this one has ended.
        os.set_inheritable(descriptor, False)
    # The thread does the same as the kernel, elsewhere, and for a supervisor that died before this call.
    threading.Thread(target=_die_with_supervisor, args=(words.life_fd,), name="life", daemon=True).start()
    prepare_process()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    run_worker(words.consumer, words.queues.split(","), words.status_fd)


def prepare_process(parent_pid: int | None = None) -> None:
    """Make this process a worker: it ends with its parent, adopts what its children leave, and ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent_pid)
    become_subreaper()
    set_process_name(PROCESS_NAME)


def run_worker(
    consumer: str, queues: Sequence[str], status_descriptor: int, loaded: LoadedClasses | None = None
) -> None:
    """Connect, make the jobs and hooks, which are loaded unless they are given, and work until SIGTERM."""
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format, add_call_fields)
    take_over_output(settings.log_level)
    if settings.redis_url is None or settings.database_url is None:
        raise UsageError(
            "a worker needs STREAMWORKERS_REDIS_URL and STREAMWORKERS_DATABASE_URL, which its supervisor sets"
        )
    streams = open_streams(settings.redis_url.get_secret_value(), settings.key_prefix, settings.message_prefix)
    loaded = loaded or LoadedClasses(load_job_classes(), load_hook_classes(settings.built_in_hooks))
    registry = Registry(make() for make in loaded.jobs)
    worker = Worker(settings, registry, streams, queues, consumer, StatusPipe(status_descriptor), loaded.hooks)
    signal.signal(signal.SIGTERM, worker.request_stop)
    _let_forks_end_by_sigterm()
    with open_pool(
        settings.database_url.get_secret_value(),
        application=consumer,
        max_size=2,
        limits=SessionLimits.of(settings).for_user_code(registry.longest_call_seconds(list_queues_of(queues))),
    ) as pool:
        worker.run(pool)
    streams.close()


def _let_forks_end_by_sigterm() -> None:
    """Give a process that a handler forks the default SIGTERM, by which `multiprocessing` ends its own.

    The signal is blocked meanwhile: the worker's handler would swallow one that comes at once.
    """

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def reset() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        unblock()

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}),
        after_in_parent=unblock,
        after_in_child=reset,
    )


def _die_with_supervisor(descriptor: int) -> None:
    """Wait for the supervisor's death, which closes the pipe, and end at once: the leases are not renewed any more."""
    while os.read(descriptor, 1):
        pass
    os._exit(70)


if __name__ == "__main__":
    main()
