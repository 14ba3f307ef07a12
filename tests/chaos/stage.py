"""The environment of a chaos run: private services behind proxies, supervisors, enqueuers, and its removal."""

import contextlib
import heapq
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil
import redis

from chaos.enqueuer import AWAY
from chaos.listener import Listener
from chaos.plan import Enqueue, Plan
from chaos.scraper import Scraper
from harness import Supervisor, is_running
from memory import folder_of_services
from patience import Deadline, patient
from services import installed_without_jobs
from streamworkers.config import Settings
from streamworkers.database import Connection, connect
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.redis.streams import open_streams
from streamworkers.migrations import migrate
from tcp_proxy import TcpProxy

HERE = Path(__file__).parent
EVIDENCE_VARIABLE = "CHAOS_EVIDENCE"
PREFIX = "chaos"
QUEUES = ("chaos", "chaos_bulk")
GRACE_SECONDS = 10.0
_READY_SECONDS = 60.0
_TICK_SECONDS = 0.005
_SCHEMA = """
CREATE TABLE effects (run_id bigint NOT NULL, seq integer NOT NULL, symbol text NOT NULL, pid integer NOT NULL,
                      attempt integer NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE events_written (event_id uuid PRIMARY KEY, gone_at timestamptz);
CREATE FUNCTION note_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        -- Events for people are taken by schedulers, which are not part of this.
        INSERT INTO events_written (event_id) SELECT NEW.event_id WHERE NEW.channel <> 'streamworkers:notify';
    ELSE
        UPDATE events_written SET gone_at = clock_timestamp() WHERE event_id = OLD.event_id;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_event AFTER INSERT OR DELETE ON outbox FOR EACH ROW EXECUTE FUNCTION note_event();
"""


class StageError(Exception):
    """The run cannot continue, because a part of the stage itself failed."""


@dataclass
class Slot:
    """A place for a supervisor, filled again whenever its supervisor ends."""

    index: int
    supervisor: Supervisor | None = None
    is_ready: bool = False
    terminated_at: float | None = None
    killed: bool = False
    stopped: bool = False

    def is_healthy(self) -> bool:
        """True if its supervisor has started and no fault has affected it yet."""
        return (
            self.supervisor is not None
            and self.is_ready
            and self.terminated_at is None
            and not self.killed
            and not self.stopped
        )

    def worker_pids(self) -> list[int]:
        """The current worker processes of its supervisor."""
        return [] if self.supervisor is None else [pid for pid in self.supervisor.worker_pids() if is_running(pid)]


@dataclass(frozen=True, slots=True)
class Incident:
    """A fault that happened: begin and end, by the monotonic clock and the wall clock, and its processes."""

    kind: str
    began: float
    ended: float
    ended_wall: float
    pids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The end of a supervisor after SIGTERM."""

    code: int
    seconds: float
    at: float


@dataclass
class Record:
    """The events of the stage, for the verdict."""

    incidents: list[Incident] = field(default_factory=list)
    goodbyes: list[Goodbye] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    enqueuers_killed: int = 0
    runs: dict[str, int] = field(default_factory=dict)
    replayed: set[tuple[int, int]] = field(default_factory=set)
    replayed_at: float | None = None


class Stage:
    """All parts of one chaos run; a context manager that leaves nothing behind."""

    def __init__(self, plan: Plan, *, without: str | None = None, keep: bool = False) -> None:
        self.plan = plan
        self.record = Record()
        self.folder = folder_of_services("sw-chaos-")
        self.evidence = self.folder / "evidence"
        self.logs = self.folder / "logs"
        self.installed = self.folder / "installed"
        self.slots = [Slot(index) for index in range(plan.supervisors)]
        self._without = without
        self._keep = keep
        self._logs_made = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._made = 0
        self._enqueuers: list[tuple[Enqueue, subprocess.Popen[str], bool]] = []
        self._enqueues_open = 0
        self._is_ending = False
        self._endings = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        for folder in (self.evidence, self.logs, self.installed):
            folder.mkdir()
        self._endings.callback(self._remove_folder)
        self.services = EmbeddedServices(Settings(data_dir=self.folder / "data"))
        self._endings.callback(self.services.stop)
        self.services.start()
        self._endings.callback(self._kill_processes)
        self.redis_proxy = self._endings.enter_context(TcpProxy(str(self.services.redis.socket_path)))
        postgres_socket = self.services.postgres.socket_folder / ".s.PGSQL.5432"
        self.postgres_proxy = self._endings.enter_context(TcpProxy(str(postgres_socket)))
        self.client = redis.Redis.from_url(self.services.redis.url)
        self._endings.callback(self.client.close)
        self.streams = open_streams(self.services.redis.url, PREFIX)
        self._endings.callback(self.streams.close)
        with self.connection() as connection:
            migrate(connection)
            connection.execute(_SCHEMA)
        self.environment = self._environment()
        self.listener = Listener(self.services.redis.url)
        self._endings.callback(self.listener.stop)
        self.listener.start()
        self.scraper = Scraper()
        self._endings.callback(self.scraper.stop)
        self.scraper.start()
        for slot in self.slots:
            self._start(slot)
        self.wait_until(lambda: all(slot.is_ready for slot in self.slots), _READY_SECONDS, "the supervisors start")

    def close(self) -> None:
        """End every process, stop the services and remove the folder; safe to repeat."""
        self._endings.close()

    def connection(self) -> Connection:
        """A direct connection to PostgreSQL, past the proxy."""
        return connect(self.services.postgres.url, application="chaos-run")

    def now(self) -> float:
        """The clock of the schedule and of the evidence."""
        return time.monotonic()

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Call a function after that many seconds."""
        self._made += 1
        heapq.heappush(self._due, (self.now() + seconds, self._made, action))

    @property
    def is_busy(self) -> bool:
        """True while an action or an enqueue is still due."""
        return bool(self._due) or self._enqueues_open > 0

    def tick(self) -> None:
        """Do due actions, check supervisors and enqueuers, and pause briefly."""
        while self._due and self._due[0][0] <= self.now():
            heapq.heappop(self._due)[2]()
        for slot in self.slots:
            self._look_after(slot)
        for enqueuer in list(self._enqueuers):
            self._look_after_enqueuer(*enqueuer)
        time.sleep(_TICK_SECONDS)

    def wait_until(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Go on with everything until the condition holds. Raises StageError when it does not within `seconds`."""
        deadline = Deadline(seconds)
        while not condition():
            if deadline.has_passed():
                raise StageError(f"not within {patient(seconds):g} s: {what}")
            self.tick()

    def happened(self, kind: str, began: float, pids: frozenset[int] = frozenset()) -> None:
        """Record a fault that has just ended."""
        self.record.incidents.append(Incident(kind, began, self.now(), time.time(), pids))

    def add_enqueue(self, enqueue: Enqueue, after_seconds: float) -> None:
        """Enqueue a run in a process of its own, repeated until it succeeds."""
        self._enqueues_open += 1
        self.after(after_seconds, lambda: self._enqueue(enqueue, is_first=True))

    def healthy_slots(self) -> list[Slot]:
        """Slots whose supervisor is running and unaffected by faults."""
        return [slot for slot in self.slots if slot.is_healthy()]

    def is_executing(self, pid: int) -> bool:
        """True if the last line that a worker has written is the start of an item."""
        try:
            with (self.evidence / str(pid)).open("rb") as lines:
                lines.seek(-min(lines.seek(0, os.SEEK_END), 100), os.SEEK_END)
                return lines.read().rstrip().rpartition(b"\n")[2].startswith(b"S")
        except FileNotFoundError:
            return False

    def executed(self) -> int:
        """A number that grows with every execution."""
        return sum(entry.stat().st_size for entry in os.scandir(self.evidence))

    def kill_supervisor(self, slot: Slot) -> frozenset[int]:
        """Send SIGKILL; returns the process ids of the supervisor and its workers."""
        assert slot.supervisor is not None
        pids = frozenset([slot.supervisor.process.pid, *slot.worker_pids()])
        slot.killed = True
        slot.supervisor.process.kill()
        return pids

    def terminate_supervisor(self, slot: Slot) -> None:
        """Send SIGTERM to its supervisor, and record the end."""
        assert slot.supervisor is not None
        slot.terminated_at = self.now()
        slot.supervisor.process.terminate()

    def stop_all(self) -> None:
        """Send SIGTERM to all supervisors, and wait for their ends; none is started again."""
        running = [slot for slot in self.slots if slot.supervisor is not None]
        for slot in running:
            self.terminate_supervisor(slot)
        self._is_ending = True
        self.wait_until(lambda: all(slot.supervisor is None for slot in self.slots), 60.0, "the supervisors end")

    def processes(self) -> list[psutil.Process]:
        """The remaining processes of this run, including workers of killed supervisors."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get(EVIDENCE_VARIABLE) == str(self.evidence):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _environment(self) -> dict[str, str]:
        path = [str(installed_without_jobs(self.installed)), str(HERE / "chaos_jobs"), str(HERE.parent)]
        settings = {
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_proxy.port}",
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{self.postgres_proxy.port}/streamworkers",
            "KEY_PREFIX": PREFIX,
            "LEASE_SECONDS": str(self.plan.lease_seconds),
            "RECONCILE_SECONDS": "0.5",
            "RETRY_BASE_SECONDS": "0.1",
            "RETRY_CAP_SECONDS": "0.5",
            "GRACE_SECONDS": str(GRACE_SECONDS),
            "LOG_FORMAT": "json",
        }
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("STREAMWORKERS_")}
        environment = inherited | {f"STREAMWORKERS_{name}": text for name, text in settings.items()}
        if self._without is not None:
            path.insert(0, str(HERE / "sabotage"))
            environment["CHAOS_WITHOUT"] = self._without
        environment[EVIDENCE_VARIABLE] = str(self.evidence)
        environment["PYTHONPATH"] = os.pathsep.join(path)
        environment["PYTHONWARNINGS"] = "error"
        return environment

    def _start(self, slot: Slot) -> None:
        self._logs_made += 1
        log = self.logs / f"supervisor-{slot.index}-{self._logs_made:03}.log"
        words = ["--processes", str(self.plan.processes), "--metrics-port", "0"]
        words += [word for queue in QUEUES for word in ("--queue", queue)]
        slot.supervisor = Supervisor(self.environment, log, words)
        slot.is_ready = slot.killed = slot.stopped = False
        slot.terminated_at = None

    def _look_after(self, slot: Slot) -> None:
        supervisor = slot.supervisor
        if supervisor is None:
            return
        if not slot.is_ready and (started := supervisor.events("supervisor_started")):
            slot.is_ready = True
            self.scraper.watch(supervisor.process.pid, started[0]["metrics_port"])
        code = supervisor.process.poll()
        if code is None:
            return
        if slot.terminated_at is not None:
            self.record.goodbyes.append(Goodbye(code, self.now() - slot.terminated_at, self.now()))
        elif not slot.killed and slot.is_ready:
            tail = supervisor.log.read_text(encoding="utf-8")[-1500:]
            self.record.unexpected.append(f"supervisor {slot.index} ended by itself with code {code}: {tail}")
        slot.supervisor = None
        if not self._is_ending:
            # One that could not start because a service was unreachable is started again, as a process manager would.
            self.after(0.3 if slot.is_ready else 1.0, lambda: self._start(slot))

    def _enqueue(self, enqueue: Enqueue, *, is_first: bool) -> None:
        request = {
            "job": enqueue.job,
            "symbols": enqueue.symbols,
            "target": enqueue.key,
            "parameters": {"milliseconds": enqueue.milliseconds},
            "max_attempts": enqueue.max_attempts,
            "idempotency_key": enqueue.key,
            "is_submitted": enqueue.is_submitted,
        }
        with (self.logs / f"enqueue-{enqueue.key}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "chaos.enqueuer"],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert process.stdin is not None
        with process.stdin as given:
            json.dump(request, given)
        shall_die = is_first and enqueue.killed_after is not None
        if shall_die:
            threading.Thread(target=_kill_when_ready, args=(process, enqueue.killed_after), daemon=True).start()
        self._enqueuers.append((enqueue, process, shall_die))

    def _look_after_enqueuer(self, enqueue: Enqueue, process: "subprocess.Popen[str]", shall_die: bool) -> None:
        code = process.poll()
        if code is None:
            return
        self._enqueuers.remove((enqueue, process, shall_die))
        assert process.stdout is not None
        if not shall_die:
            with process.stdout as answer:
                lines = answer.read().split()
        if code == 0 and not shall_die:
            self.record.runs[enqueue.key] = int(lines[-1])
            self._enqueues_open -= 1
            return
        if code == -signal.SIGKILL:
            self.record.enqueuers_killed += 1
        elif code not in (0, AWAY):
            text = (self.logs / f"enqueue-{enqueue.key}.log").read_text(encoding="utf-8")[-800:]
            self.record.unexpected.append(f"the enqueuer of {enqueue.key} ended with code {code}: {text}")
        # One that finished before its kill is repeated too: its key must give the same run.
        self.after(0.5, lambda: self._enqueue(enqueue, is_first=False))

    def _kill_processes(self) -> None:
        while processes := self.processes():
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, 5)
        for slot in self.slots:
            if slot.supervisor is not None:
                slot.supervisor.process.wait()
        for _, process, _ in self._enqueuers:
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _remove_folder(self) -> None:
        if self._keep:
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def _kill_when_ready(process: "subprocess.Popen[str]", seconds: float) -> None:
    """Wait until an enqueuer is ready, and kill it that much later."""
    assert process.stdout is not None
    with process.stdout as answer:
        answer.readline()
        time.sleep(seconds)
        process.kill()
