"""Carries out the faults of a plan, and records each when it has ended."""

import contextlib
import os
import signal
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from chaos.plan import CANCELLED_KEY, Enqueue, Fault
from chaos.stage import Slot, Stage, StageError
from patience import Deadline, patient
from streamworkers.admin import runs as operations
from streamworkers.embedded.postgres_server import PostgresServer
from streamworkers.embedded.redis_server import RedisServer
from streamworkers.engine.ledger.reports import DeadFilter, list_dead_items

T = TypeVar("T")
KILLS = ("kill_worker", "kill_supervisor")
_LOOK_SECONDS = 0.03
# A supervisor that a fault has ended is started again, and then there is a target.
_TARGET_SECONDS = 60.0
_MOST_REPLAYED = 6


class Faults:
    """The faults of one chaos run."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._instant: dict[str, Callable[[], None]] = {
            "redis_restart": self._restart_redis,
            "redis_kill": self._kill_redis,
            "redis_flushall": lambda: self._ask_redis("FLUSHALL"),
            "redis_script_flush": lambda: self._ask_redis("SCRIPT", "FLUSH"),
            "redis_client_kill": lambda: self._ask_redis("CLIENT", "KILL", "TYPE", "normal"),
            "postgres_restart": self._restart_postgres,
            "postgres_kill": self._kill_postgres,
            "postgres_terminate": self._terminate_backends,
            "redis_cut": stage.redis_proxy.cut,
            "postgres_cut": stage.postgres_proxy.cut,
        }
        self._cut_reply = {"redis_cut_reply": stage.redis_proxy, "postgres_cut_reply": stage.postgres_proxy}
        self._lasting: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
            "redis_hang": (stage.redis_proxy.hang, stage.redis_proxy.resume),
            "redis_reject": (stage.redis_proxy.reject, stage.redis_proxy.resume),
            "postgres_hang": (stage.postgres_proxy.hang, stage.postgres_proxy.resume),
            "postgres_reject": (stage.postgres_proxy.reject, stage.postgres_proxy.resume),
        }

    def schedule(self, faults: Sequence[Fault], enqueues: Sequence[Enqueue], planned: float = 0.0) -> None:
        """Schedule all faults in order, each not before its pause has passed, and the work of the time between them.

        Three of four also wait until the pool has executed something since the one before, and somebody is executing,
        so that they meet a pool at work on a slow machine too. All of them wait for a target, so each of them happens.
        What is enqueued waits for the fault before it, whose time in the plan is `planned`, so that there is work
        until the last fault.
        """
        following = planned + faults[0].pause if faults else float("inf")
        count = bisect_left(enqueues, following, key=lambda enqueue: enqueue.at)
        for enqueue in enqueues[:count]:
            self._stage.add_enqueue(enqueue, enqueue.at - planned)
        if not faults:
            return
        first, *others = faults
        executed = self._stage.executed()
        latest = self._stage.now() + first.pause + self._stage.plan.wait_seconds
        wait_for_target = Deadline(first.pause + _TARGET_SECONDS)

        def begin() -> None:
            has_worked = self._stage.executed() > executed and any(
                self._stage.is_executing(pid) for slot in self._stage.healthy_slots() for pid in slot.worker_pids()
            )
            is_due = first.is_blind or has_worked or self._stage.now() >= latest
            if is_due and self.begin(first):
                self.schedule(others, enqueues[count:], following)
            elif wait_for_target.has_passed():
                raise StageError(f"no target for {first.kind} within {patient(wait_for_target.seconds):g} s")
            else:
                self._stage.after(_LOOK_SECONDS, begin)

        self._stage.after(first.pause, begin)

    def begin(self, fault: Fault) -> bool:
        """Cause a fault, and end it after its duration. False while it has no target, and nothing has happened."""
        stage, began = self._stage, self._stage.now()
        if fault.kind == "cancel":
            return self._cancel()
        if fault.kind == "replay":
            return self._replay()
        if fault.kind in self._instant:
            self._instant[fault.kind]()
            stage.happened(fault.kind, began)
        elif fault.kind in self._cut_reply:
            self._cut_reply[fault.kind].cut_after(fault.target % 200)
            stage.happened(fault.kind, began)
        elif fault.kind in self._lasting:
            start, end = self._lasting[fault.kind]
            start()
            stage.after(fault.seconds, lambda: self._end(fault.kind, began, end))
        else:
            return self._strike(fault)
        return True

    def _strike(self, fault: Fault) -> bool:
        """Cause a fault of a healthy supervisor or of one of its workers, if there is one."""
        stage, began = self._stage, self._stage.now()
        slots = [slot for slot in stage.healthy_slots() if slot.worker_pids()]
        if not slots:
            return False
        slot = _chosen(fault, slots, lambda slot: any(map(stage.is_executing, slot.worker_pids())))
        workers = slot.worker_pids()
        match fault.kind:
            case "kill_worker":
                pid = _chosen(fault, workers, stage.is_executing)
                _signal([pid], signal.SIGKILL)
                stage.happened(fault.kind, began, frozenset([pid]))
            case "kill_supervisor":
                stage.happened(fault.kind, began, stage.kill_supervisor(slot))
            case "term_supervisor":
                stage.terminate_supervisor(slot)
                stage.happened(fault.kind, began, frozenset(workers))
            case "stop_worker":
                pid = _chosen(fault, workers, stage.is_executing)
                stage.after(fault.seconds, self.stop(fault.kind, [pid]))
            case "stop_tree":
                assert slot.supervisor is not None
                slot.stopped = True
                pids = [slot.supervisor.process.pid, *workers]
                stage.after(fault.seconds, self.stop(fault.kind, pids, slot))
            case _:
                raise StageError(f"there is no fault {fault.kind}")
        return True

    def stop(self, kind: str, pids: list[int], slot: Slot | None = None) -> Callable[[], None]:
        """Send SIGSTOP; returns a function that continues them. `slot` is set if a supervisor is among them."""
        began = self._stage.now()
        supervisor = slot.supervisor if slot is not None else None
        _signal(pids, signal.SIGSTOP)

        def wake() -> None:
            _signal(pids, signal.SIGCONT)
            if slot is not None and slot.supervisor is supervisor:
                slot.stopped = False
            self._stage.happened(kind, began, frozenset(pids))

        return wake

    def _end(self, kind: str, began: float, end: Callable[[], None]) -> None:
        end()
        self._stage.happened(kind, began)

    def _ask_redis(self, *words: str) -> None:
        self._stage.client.execute_command(*words)  # type: ignore[no-untyped-call]

    def _restart_redis(self) -> None:
        self._stage.services.redis.stop()
        self._stage.services.redis.start()

    def _kill_redis(self) -> None:
        self._kill_server(self._stage.services.redis)

    def _restart_postgres(self) -> None:
        self._stage.services.postgres.stop()
        self._stage.services.postgres.start()

    def _kill_postgres(self) -> None:
        self._kill_server(self._stage.services.postgres)

    def _kill_server(self, server: RedisServer | PostgresServer) -> None:
        process = server.process()
        assert process is not None
        process.kill()
        self._stage.wait_until(lambda: server.process() is None, 10.0, f"{server.name} dies")
        server.start()

    def _terminate_backends(self) -> None:
        with self._stage.connection() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def _cancel(self) -> bool:
        """Cancel the run intended for it, if it has begun. Its items last until then."""
        stage, began = self._stage, self._stage.now()
        with stage.connection() as connection:
            row = connection.execute(
                "SELECT id, status FROM runs WHERE idempotency_key = %s", (CANCELLED_KEY,)
            ).fetchone()
            if row is None or row[1] == "PENDING":
                return False
            operations.cancel(connection, stage.streams, row[0])
        stage.happened("cancel", began)
        return True

    def _replay(self) -> bool:
        """Replay some dead items, if there are any."""
        stage, began = self._stage, self._stage.now()
        with stage.connection() as connection:
            dead = [(row["run_id"], row["seq"]) for row in list_dead_items(connection, DeadFilter(), _MOST_REPLAYED)]
            if not dead:
                return False
            stage.record.replayed |= set(dead)
            operations.replay(connection, stage.streams, dead)
        stage.happened("replay", began)
        return True


def _chosen(fault: Fault, candidates: Sequence[T], is_at_work: Callable[[T], bool]) -> T:
    """The candidate that the fault's target selects: a busy one, if there is one, unless the fault is blind."""
    at_work = [candidate for candidate in candidates if is_at_work(candidate)] if not fault.is_blind else []
    among = at_work or candidates
    return among[fault.target // 4 % len(among)]


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
