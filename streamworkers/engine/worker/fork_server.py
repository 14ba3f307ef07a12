"""The fork server: a process that has loaded all jobs, and forks a supervisor's workers from itself.

A supervisor has threads, so it cannot fork safely; this process has one thread and no connection. Its workers start in
no time, because nothing has to be loaded, and share the memory of what was loaded. Only the supervisor starts it, on
Linux: `python -m streamworkers.engine.worker.fork_server`.

It is the parent of the workers and a subreaper. So it reports how they end, kills what a dead worker leaves behind,
and, when its supervisor is gone, ends with everything that was started from it.
"""

import argparse
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from streamworkers.config import load_settings
from streamworkers.engine.processes import become_subreaper, end_children, read_children, set_process_name
from streamworkers.engine.protocol import (
    Ended,
    Fork,
    Forked,
    ForkServerMessage,
    JobsLoaded,
    NotForked,
    Unforkable,
    receive_control,
    send_control,
)
from streamworkers.engine.registry import JobClass, load_job_classes
from streamworkers.engine.worker.main import LoadedClasses, prepare_process, run_worker
from streamworkers.faults import describe
from streamworkers.hooks import load_hook_classes
from streamworkers.logger import get_logger
from streamworkers.logs import configure_logs

log = get_logger()
PROCESS_NAME = "sw-fork-server"
_RETRY_SECONDS = 1.0
_THREAD_END_SECONDS, _THREAD_POLL_SECONDS = 2.0, 0.005
_ALL_SIGNALS = signal.valid_signals()


def main() -> None:
    """Load the jobs, and fork workers until the supervisor is gone."""
    parser = argparse.ArgumentParser(prog="streamworkers.engine.worker.fork_server")
    parser.add_argument("--control-fd", type=int, required=True)
    control = socket.socket(fileno=parser.parse_args().control_fd)
    control.set_inheritable(False)
    # Both are sent to the whole group; the supervisor decides what they mean for its workers.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    set_process_name(PROCESS_NAME)
    become_subreaper()
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    # Garbage leaves holes in the memory that workers share, and a collection would write to all of it.
    gc.disable()
    # pandas imports pyarrow where it is installed, and a thread of pyarrow's allocator would make forks unsafe.
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    loaded = LoadedClasses(_load(), load_hook_classes(settings.built_in_hooks))
    if reason := _find_threads():
        with control, suppress(OSError):
            send_control(control, Unforkable(reason))
        return
    gc.collect()
    gc.freeze()
    server = _Server(control)
    if (worker := server.serve()) is not None:
        # A fork returns here, as if the process had been started for it: nothing of the server is beneath its calls.
        parent_pid, request, status_descriptor = worker
        _prepare_fork(parent_pid)
        run_worker(request.consumer, request.queues, status_descriptor, loaded)


def _load() -> Sequence[JobClass]:
    """Load all jobs, and the modules that they would load later. What only a later call needs may be missing."""
    classes = load_job_classes()
    for name in {name: None for job_class in classes for name in job_class.preload}:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  # the handler that needs it fails with it
            log.warning("module_not_preloaded", module=name, error=describe(error))
    return classes


def _find_threads() -> str:
    """Return which threads the jobs' modules have started, which do not survive a fork; '' if there are none."""
    others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    if others:
        return f"loading the jobs started threads: {', '.join(others)}"
    # Libraries that can be forked, such as OpenBLAS, end their threads for it, so a fork shows which are left.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12 and newer, about such threads
        if (pid := os.fork()) == 0:
            os._exit(0)
    os.waitpid(pid, 0)
    # The kernel lists a thread for a moment longer than it takes to be joined.
    deadline = time.monotonic() + _THREAD_END_SECONDS
    while (count := len(list(Path("/proc/self/task").iterdir())) - 1) and time.monotonic() < deadline:
        time.sleep(_THREAD_POLL_SECONDS)
    return f"loading the jobs started {count} native threads" if count else ""


def _prepare_fork(parent_pid: int) -> None:
    """Give a fork what a fresh process has: default signals, random numbers of its own, a garbage collector."""
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    prepare_process(parent_pid)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    gc.enable()
    # Python's own generator does this by itself.
    if (module := sys.modules.get("numpy.random")) is not None:
        module.seed()


class _Server:
    """The loop of the one thread: forks when asked to, reaps, and reports."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: dict[int, str] = {}
        # What a job's module has started while it was loaded is not a worker's to end.
        self._spared = read_children()
        self._has_leftovers = False
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def serve(self) -> tuple[int, Fork, int] | None:
        """Work until the supervisor is gone: None. In a fork: the parent's process id, the request and its pipe."""
        self._send(JobsLoaded())
        while True:
            timeout = _RETRY_SECONDS if self._has_leftovers else None
            readable, _, _ = select.select([self._control.fileno(), self._wake_read], [], [], timeout)
            if self._wake_read in readable:
                os.read(self._wake_read, 4096)
            self._reap()
            if self._control.fileno() not in readable:
                continue
            try:
                request, descriptors = receive_control(self._control)
            except EOFError:
                self._control.close()
                end_children()
                return None
            assert isinstance(request, Fork)
            if (parent_pid := self._fork(request, *descriptors)) is not None:
                return parent_pid, request, descriptors[0]

    def _fork(self, request: Fork, status_descriptor: int) -> int | None:
        """Fork a worker and report it: None. In the fork: the parent's process id."""
        parent_pid = os.getpid()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or each fork would write again what is left in the buffer
        # A fork must not take a signal before it has reset what the server does with them.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
        try:
            pid = os.fork()
        except OSError as error:
            self._unblock_signals()
            self._send(NotForked(request.consumer, str(error)))
        else:
            if pid == 0:
                self._leave()
                return parent_pid
            self._unblock_signals()
            self._report_fork(pid, request.consumer)
        os.close(status_descriptor)
        return None

    def _report_fork(self, pid: int, consumer: str) -> None:
        try:
            process_descriptor = os.pidfd_open(pid)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            self._send(NotForked(consumer, str(error)))
            return
        self._workers[pid] = consumer
        self._send(Forked(consumer, pid), process_descriptor)
        os.close(process_descriptor)

    def _unblock_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _leave(self) -> None:
        """Close what belongs to the server, in a fork of it."""
        signal.set_wakeup_fd(-1)
        self._control.close()
        for descriptor in (self._wake_read, self._wake_write):
            os.close(descriptor)

    def _reap(self) -> None:
        """Reap what has ended, kill what workers left behind, and only then report them."""
        ended: list[Ended] = []
        has_adopted = self._has_leftovers
        with suppress(ChildProcessError):
            while (child := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)) is not None:
                code = child.si_status if child.si_code == os.CLD_EXITED else -child.si_status
                if (consumer := self._workers.pop(child.si_pid, None)) is not None:
                    ended.append(Ended(consumer, code))
                has_adopted = True
        if has_adopted:
            killed, is_done = end_children(self._workers.keys() | self._spared)
            self._has_leftovers = not is_done
            if killed:
                consumers = [each.consumer for each in ended]
                log.warning("child_processes_killed", consumers=consumers, count=killed, left=not is_done)
        for each in ended:
            self._send(each)

    def _send(self, message: ForkServerMessage, *descriptors: int) -> None:
        """Send a message; that the supervisor is gone shows at the next read."""
        with suppress(OSError):
            send_control(self._control, message, *descriptors)


if __name__ == "__main__":
    main()
