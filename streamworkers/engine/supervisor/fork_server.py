"""The fork server as its supervisor sees it: starts it, asks it for workers, and replaces it when it dies."""

import os
import random
import select
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from streamworkers.engine.processes import AdoptedReaper, become_subreaper, read_children
from streamworkers.engine.protocol import (
    Ended,
    Fork,
    Forked,
    ForkServerMessage,
    JobsLoaded,
    NotForked,
    Unforkable,
    open_control,
    receive_control,
    send_control,
)
from streamworkers.engine.supervisor.starting import end_adopted, start_python
from streamworkers.engine.worker_end import Ending, WorkerEnd, describe_exit
from streamworkers.logger import get_logger

log = get_logger()
LOAD_SECONDS = 120.0
FORK_SECONDS = 60.0
REPORT_SECONDS = 10.0
_SEND_SECONDS = 1.0
_END_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 10.0
_NEVER = float("inf")


class ForkedProcess:
    """A worker that was asked of the fork server; `pid` is 0 until it has been forked.

    Signals go to a descriptor of the process: its number may belong to another one by the time they are sent. `due` is
    when the fork server has to have reported what is expected of it next (monotonic).
    """

    def __init__(self, answer: Callable[[float], bool]) -> None:
        self.pid = 0
        self.due = time.monotonic() + FORK_SECONDS
        self._descriptor: int | None = None
        self._ending: Ending | None = None
        self._wanted_signal = 0
        self._answer = answer

    def forked(self, pid: int, descriptor: int) -> None:
        """Set what identifies it, and send it the signal that was meant for it meanwhile."""
        self.pid, self._descriptor, self.due = pid, descriptor, _NEVER
        if self._wanted_signal:
            self.send_signal(self._wanted_signal)

    def ended(self, ending: Ending) -> None:
        """Take note of how it ended."""
        self._ending = self._ending or ending

    def poll(self) -> Ending | None:
        """Return how it ended; None while it runs."""
        return self._ending

    def wait(self, seconds: float) -> bool:
        """Wait for its end; False if the fork server has not reported it within `seconds`."""
        deadline = time.monotonic() + seconds
        while self._ending is None and (left := deadline - time.monotonic()) > 0:
            if not self._answer(left):
                break
        if self._ending is None and self._descriptor is not None and select.select([self._descriptor], [], [], 0)[0]:
            self._expect_report()
        return self._ending is not None

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended; SIGKILL is not forgotten for another one."""
        if self._descriptor is None:
            self._wanted_signal = signal.SIGKILL if signal.SIGKILL in (self._wanted_signal, number) else number
        elif self._ending is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)
            if number == signal.SIGKILL:
                self._expect_report()

    def _expect_report(self) -> None:
        self.due = min(self.due, time.monotonic() + REPORT_SECONDS)

    def close(self) -> None:
        """Close its descriptor, after its end."""
        if self._descriptor is not None:
            os.close(self._descriptor)


class ForkServer:
    """Starts workers by a fork server, which it starts when the first one is needed.

    If the fork server dies, the kernel kills its workers, and what they had started comes to this process, which kills
    it. `failed` is called for each that does not get so far that it can fork.
    """

    def __init__(
        self, environment: Mapping[str, str], selector: selectors.BaseSelector, failed: Callable[[], None]
    ) -> None:
        self.unfit = ""
        self._environment = environment
        self._selector = selector
        self._failed = failed
        self._spared = read_children()
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._is_loaded = False
        self._load_by = _NEVER
        self._failures = 0
        self._start_at = 0.0
        self._processes: dict[str, ForkedProcess] = {}
        self._reaper = AdoptedReaper()
        become_subreaper()

    def is_ready(self, now: float) -> bool:
        """True if workers can be forked; starts a fork server, and another one after a pause if it does not load."""
        if self._server is None and now >= self._start_at:
            self._start_server(now)
        return self._is_loaded

    def start(self, consumer: str, queues: Sequence[str], status_descriptor: int) -> ForkedProcess:
        """Ask for a worker. Raises OSError if the fork server takes no request."""
        assert self._control is not None
        send_control(self._control, Fork(consumer, list(queues)), status_descriptor)
        process = self._processes[consumer] = ForkedProcess(self._answer)
        return process

    def turn(self, now: float) -> None:
        """Give up a fork server that does not answer, and reap what this process has adopted."""
        if self._server is not None and now >= self.next_deadline():
            self._lose("it did not answer in time")
        self._reaper.turn(now, {self._server.pid} if self._server is not None else ())

    def next_deadline(self) -> float:
        """Return when the fork server has to have answered, or is to be started again (monotonic)."""
        if self._server is None:
            return self._start_at
        return min((self._load_by, *(process.due for process in self._processes.values())))

    def postpone(self, seconds: float) -> None:
        """Move all deadlines: the processes may have stood still for so long."""
        self._load_by += seconds
        for process in self._processes.values():
            process.due += seconds

    def reaped(self) -> None:
        """Do nothing: the fork server has killed what the worker left before it reported its end."""

    def close(self) -> None:
        """Let the fork server end, after all workers have ended; kill it if it does not."""
        if self._server is None:
            return
        self._disconnect()
        try:
            self._server.wait(_END_SECONDS if self._is_loaded else 0.0)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None
        end_adopted(self._spared)

    def _start_server(self, now: float) -> None:
        control, other = open_control()
        control.settimeout(_SEND_SECONDS)
        with other:
            words = ["streamworkers.engine.worker.fork_server", "--control-fd", str(other.fileno())]
            try:
                self._server = start_python(words, (other.fileno(),), self._environment)
            except OSError as error:
                control.close()
                self._pause(now, str(error))
                return
        self._control, self._is_loaded, self._load_by = control, False, now + LOAD_SECONDS
        self._selector.register(control, selectors.EVENT_READ, self._listen)
        log.info("fork_server_started", pid=self._server.pid)

    def _listen(self) -> None:
        """Process the messages that have arrived."""
        while self._answer(0.0):
            pass

    def _answer(self, seconds: float) -> bool:
        """Process the next message; False if none arrives within `seconds`."""
        if self._control is None:
            return False
        self._control.settimeout(seconds)
        try:
            message, descriptors = receive_control(self._control)
        except (BlockingIOError, TimeoutError):
            return False
        except EOFError:
            self._lose("")
            return False
        finally:
            if self._control is not None:
                self._control.settimeout(_SEND_SECONDS)
        self._process(message, descriptors)
        return True

    def _process(self, message: ForkServerMessage, descriptors: Sequence[int]) -> None:
        match message:
            case JobsLoaded():
                self._is_loaded, self._load_by = True, _NEVER
            case Unforkable():
                self.unfit = message.reason
            case Forked():
                self._failures = 0
                self._processes[message.consumer].forked(message.pid, descriptors[0])
            case NotForked():
                reason = f"worker was not forked: {message.error}"
                self._processes.pop(message.consumer).ended(Ending(WorkerEnd.START_FAILED, reason))
            case Ended():
                self._processes.pop(message.consumer).ended(describe_exit(message.code))

    def _lose(self, reason: str) -> None:
        """Take note that the fork server has ended, or end it: so do its workers, and all that they started."""
        assert self._server is not None
        self._disconnect()
        with suppress(subprocess.TimeoutExpired):
            # It has closed its end. By itself it kills all that came from it before it ends.
            self._server.wait(0.0 if reason else _END_SECONDS)
        self._server.kill()
        code = self._server.wait()
        self._server = None
        end_adopted(self._spared)
        reason = reason or describe_exit(code, "it").reason or "it ended"
        for process in self._processes.values():
            process.ended(Ending(WorkerEnd.FORK_SERVER_LOST, f"fork server lost: {reason}"))
        self._processes.clear()
        self._pause(time.monotonic(), reason)

    def _disconnect(self) -> None:
        if self._control is not None:
            self._selector.unregister(self._control)
            self._control.close()
            self._control = None

    def _pause(self, now: float, reason: str) -> None:
        """Log that there is no fork server, and wait before the next one if this one forked no worker."""
        log.warning("fork_server_ended", reason=reason, loaded=self._is_loaded)
        if not self._is_loaded:
            self._failed()
        self._is_loaded = False
        bound = min(_LONGEST_PAUSE_SECONDS, 0.25 * 2.0 ** min(self._failures, 10)) if self._failures else 0.0
        self._failures += 1
        self._start_at = now + random.uniform(bound / 2, bound)  # noqa: S311  # spreads restarts
