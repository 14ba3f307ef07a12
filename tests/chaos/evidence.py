"""The evidence of a chaos run: executions from the files of the processes, items and effects from the database."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from streamworkers.database import Connection

ItemKey = tuple[int, int]


class Execution(NamedTuple):
    """One call of a handler for one item; `ended` is None if its process ended before it returned."""

    key: ItemKey
    attempt: int
    pid: int
    began: float
    ended: float | None


class LedgerItem(NamedTuple):
    """An item in the ledger at the end; times are seconds since 1970."""

    key: ItemKey
    symbol: str
    status: str
    attempt: int
    error: str | None
    worker: str | None
    created: float
    finished: float | None

    @property
    def word(self) -> str:
        """The kind of the item: the first word of its symbol."""
        return self.symbol.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the verdict is based on, except the stage's own record."""

    items: Mapping[ItemKey, LedgerItem]
    executions: Mapping[ItemKey, list[Execution]]
    effects: Mapping[ItemKey, list[tuple[int, int, float]]]
    events: Mapping[str, float | None]
    added_again: Mapping[int, list[float]]
    requeued: Mapping[int, float]
    reclaimed: Sequence[float]
    open_runs: list[int]
    events_waiting: int

    def history(self, key: ItemKey) -> list[str]:
        """The history of an item, one line for each event."""
        item = self.items.get(key)
        lines = [f"item {key[0]}/{key[1]}: {item._asdict() if item else 'not in the ledger'}"]
        lines += [
            f"  executed by {execution.pid}, attempt {execution.attempt}, from {execution.began:.3f}"
            f" to {'its end' if execution.ended is None else f'{execution.ended:.3f}'}"
            for execution in self.executions.get(key, [])
        ]
        lines += [
            f"  effect of {pid}, attempt {attempt}, at {at:.3f}" for pid, attempt, at in self.effects.get(key, [])
        ]
        return lines


def gather(connection: Connection, evidence_folder: Path, logs: Path) -> Evidence:
    """Read all evidence from the database and the logs."""
    items = {
        (row[0], row[1]): LedgerItem((row[0], row[1]), *row[2:])
        for row in connection.execute(
            "SELECT i.run_id, i.seq, i.symbol, i.status, i.attempt, i.error, i.worker,"
            " extract(epoch FROM r.created_at)::float8, extract(epoch FROM i.finished_at)::float8"
            " FROM run_items i JOIN runs r ON r.id = i.run_id"
        )
    }
    effects: dict[ItemKey, list[tuple[int, int, float]]] = {}
    for run_id, seq, *effect in connection.execute(
        "SELECT run_id, seq, pid, attempt, extract(epoch FROM at)::float8 FROM effects ORDER BY at"
    ):
        effects.setdefault((run_id, seq), []).append((effect[0], effect[1], effect[2]))
    events: dict[str, float | None] = dict(
        connection.execute("SELECT event_id::text, extract(epoch FROM gone_at)::float8 FROM events_written").fetchall()
    )
    open_runs = connection.execute("SELECT id FROM runs WHERE completed_at IS NULL ORDER BY id").fetchall()
    waiting = connection.execute("SELECT count(*) FROM outbox WHERE channel <> 'streamworkers:notify'").fetchone()
    assert waiting is not None
    executions: dict[ItemKey, list[Execution]] = {}
    for execution in sorted(read_executions(evidence_folder), key=lambda execution: execution.began):
        executions.setdefault(execution.key, []).append(execution)
    return Evidence(
        items=items,
        executions=executions,
        effects=effects,
        events=events,
        added_again=_added_again(logs),
        requeued=_requeued_at(logs),
        reclaimed=sorted(_moment(event) for event in log_events(logs, "entries_reclaimed")),
        open_runs=[run_id for (run_id,) in open_runs],
        events_waiting=waiting[0],
    )


def read_executions(folder: Path) -> Iterable[Execution]:
    """The executions in the files of all processes; a process has one at a time."""
    for path in folder.iterdir():
        under_way: Execution | None = None
        for line in path.read_text(encoding="utf-8").splitlines():
            mark, run_id, seq, attempt, seconds = line.split()
            if mark == "S":
                if under_way is not None:
                    yield under_way
                under_way = Execution((int(run_id), int(seq)), int(attempt), int(path.name), float(seconds), None)
            else:
                assert under_way is not None
                yield under_way._replace(ended=float(seconds))
                under_way = None
        if under_way is not None:
            yield under_way


def log_events(logs: Path, name: str) -> Iterable[dict[str, Any]]:
    """The events of a name in the logs of all supervisors and their workers."""
    for path in logs.glob("supervisor-*.log"):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("{") and f'"{name}"' in line:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # cut off by a kill, or written by two processes at once
                if event.get("event") == name:
                    yield event


def _added_again(logs: Path) -> dict[int, list[float]]:
    """When the reconciler added items of each run again, in seconds since 1970."""
    found: dict[int, list[float]] = {}
    for event in log_events(logs, "items_added_again"):
        found.setdefault(event["run"], []).append(_moment(event))
    return found


def _requeued_at(logs: Path) -> dict[int, float]:
    """When a supervisor requeued the entries of a dead worker, by the worker's process id."""
    pids = {event["consumer"]: event["pid"] for event in log_events(logs, "worker_started")}
    return {pids[event["consumer"]]: _moment(event) for event in log_events(logs, "entries_requeued")}


def _moment(event: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()
