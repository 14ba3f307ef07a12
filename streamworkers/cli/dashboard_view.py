"""The screen of `top` and `status`: gathered from Redis and PostgreSQL, laid out for a terminal of any size."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Group, JustifyMethod, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from streamworkers.cli.session import Session, cut_text
from streamworkers.diagnosis.components import ComponentStatus, check_components, find_worst
from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.ledger.processes import ProcessRecord
from streamworkers.engine.ledger.reports import DeadFilter
from streamworkers.engine.redis.lanes import list_queues_of
from streamworkers.engine.registry import installed_jobs
from streamworkers.loading.progress import Progress, count_calls_left
from streamworkers.schedules import reports as schedule_reports

MOST_FAILURES = 5
MOST_RUNS = 8
MOST_SUPERVISORS = 10
MOST_PROCESSES = 10
EVERYTHING = 10_000  # lines
_WIDEST_NAME = 24
_WIDEST_TARGET = 20
_STYLES = {"ok": "green", "degraded": "yellow", "critical": "bold red"}


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One queue: its entries by place, its dead items, the age of its oldest entry, and why it is paused, if it is."""

    name: str
    waiting: int
    pending: int
    delayed: int
    dead: int
    oldest_seconds: float
    paused: str | None = None


@dataclass(frozen=True, slots=True)
class SupervisorRow:
    """One live supervisor: its workers, how many of them are busy, how many wait for a store, and its queues."""

    name: str
    workers: int
    busy: int
    holding: int
    queues: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One supervisor or scheduler: since when it runs, how long ago it was seen, and what it does."""

    name: str
    kind: str
    version: str
    started_at: datetime
    unseen_seconds: float
    silent: bool
    doing: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The system at one moment. `monotonic` is the same moment on a monotonic clock, for rates."""

    at: datetime
    monotonic: float
    components: list[ComponentStatus]
    findings: list[Finding]
    queues: list[QueueRow]
    supervisors: list[SupervisorRow]
    processes: list[ProcessRow]
    runs: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    ticks: list[tuple[str, float]] = field(default_factory=list)

    @property
    def status(self) -> str:
        """The status of the worst component: `ok`, `degraded` or `critical`."""
        return find_worst(self.components)

    def as_json(self) -> dict[str, Any]:
        """The overview as plain values, for JSON."""
        return {
            "status": self.status,
            "at": self.at,
            "components": [asdict(component) for component in self.components],
            "findings": [finding.as_dict() for finding in self.findings],
            "queues": [asdict(row) for row in self.queues],
            "supervisors": [asdict(row) for row in self.supervisors],
            "processes": [asdict(row) for row in self.processes],
            "open_runs": self.runs,
            "recent_failures": self.failures,
            "next_ticks": [{"schedule": name, "in_seconds": seconds} for name, seconds in self.ticks],
        }


@contextmanager
def open_snapshots(session: Session) -> Iterator[Callable[[], Snapshot]]:
    """Connect, and give a function that takes a new snapshot each time it is called."""
    registry = installed_jobs()
    with session.database() as connection, session.streams() as streams:
        yield lambda: Snapshot(connection, streams, registry, session.settings)


def gather(snapshot: Snapshot) -> Overview:
    """Run the cheap checks and read what else the screen shows."""
    connection = snapshot.connection
    components, findings = check_components(snapshot)
    return Overview(
        at=snapshot.now,
        monotonic=time.monotonic(),
        components=components,
        findings=findings,
        queues=_list_queues(snapshot),
        supervisors=_list_supervisors(snapshot),
        processes=[_process_row(process) for process in snapshot.processes],
        runs=[_run_row(snapshot, row) for row in ledger_reports.list_open_runs(connection, MOST_RUNS)],
        failures=ledger_reports.list_dead_items(connection, DeadFilter(), MOST_FAILURES),
        ticks=sorted(
            (
                (gauges.name, gauges.next_seconds)
                for gauges in schedule_reports.schedule_gauges(connection)
                if gauges.enabled and gauges.next_seconds is not None
            ),
            key=lambda tick: tick[1],
        ),
    )


def render(now: Overview, before: Overview | None, height: int, *, is_whole: bool = False) -> RenderableType:
    """Lay the overview out for a terminal of `height` lines; rates are those since `before`.

    Where it is too narrow, names of runs, items and symbols stay, and longer texts are cut; if `is_whole`, nothing is.
    """
    parts: list[RenderableType] = [_headline(now)]
    for title, table, rows in (
        ("queues", _queues_table(now), len(now.queues)),
        ("runs", _runs_table(now, before, is_whole), len(now.runs)),
        ("supervisors", _supervisors_table(now), min(len(now.supervisors), MOST_SUPERVISORS)),
        ("processes", _processes_table(now, is_whole), min(len(now.processes), MOST_PROCESSES)),
        ("recent failures", _failures_table(now), len(now.failures)),
        ("next ticks", _ticks_table(now), min(len(now.ticks), 5)),
    ):
        room = height - sum(_height(part) for part in parts)
        if rows and rows + 3 <= room:
            parts += [Text(), Text(title, style="bold"), table]
    return Group(*parts)


def _height(part: RenderableType) -> int:
    return part.row_count + 1 if isinstance(part, Table) else str(part).count("\n") + 1


def _headline(now: Overview) -> Text:
    text = Text(f"streamworkers {now.at.astimezone():%Y-%m-%d %H:%M:%S %Z}  ")
    text.append(now.status, style=_STYLES[now.status])
    for component in now.components:
        if component.status != "ok":
            text.append(f"\n{component.component}: {component.message}", style=_STYLES[component.status])
    return text


def _table(*columns: str, right: Sequence[str] = (), long: Sequence[str] = ()) -> Table:
    """A table whose columns of `long` texts are the first to be made narrower: their cells are made by `_cut`."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        justify: JustifyMethod = "right" if column in right else "left"
        table.add_column(column, justify=justify, no_wrap=column not in long, overflow="ellipsis")
    return table


def _cut(text: str) -> Text:
    """The cell of a long text: one line, which ends with … where the column is too narrow."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _queues_table(now: Overview) -> Table:
    numbers = ("waiting", "pending", "delayed", "dead", "oldest s")
    table = _table("queue", *numbers, right=numbers)
    for row in now.queues:
        counts = (row.waiting, row.pending, row.delayed, row.dead)
        name = row.name if row.paused is None else f"{row.name} (paused)"
        table.add_row(name, *(f"{count:,}" for count in counts), f"{row.oldest_seconds:,.0f}")
    return table


def _run_row(snapshot: Snapshot, row: dict[str, Any]) -> dict[str, Any]:
    """An open run with the calls that it still makes, and about when it is done."""
    calls = count_calls_left(row.pop("parameters"), row["item_count"], row["closed"])
    progress = Progress(row["item_count"], row["closed"], calls, row["started_at"])
    return {**row, "calls_left": calls, "eta": progress.eta(snapshot.settings.massive_calls_per_minute, snapshot.now)}


def _runs_table(now: Overview, before: Overview | None, is_whole: bool) -> Table:
    numbers = ("done", "failed", "items/s", "calls left")
    table = _table("run", "job", "target", "progress", *numbers, "done at", right=numbers, long=("job", "target"))
    earlier = {run["run_id"]: run["closed"] for run in before.runs} if before else {}
    for run in now.runs:
        rate = ""
        if before is not None and run["run_id"] in earlier:
            passed = now.monotonic - before.monotonic
            rate = f"{(run['closed'] - earlier[run['run_id']]) / passed:,.0f}" if passed > 0 else ""
        table.add_row(
            str(run["run_id"]),
            _cut(run["job"]),
            _cut(run["target"] if is_whole else cut_text(run["target"], _WIDEST_TARGET)),
            ProgressBar(total=max(1, run["item_count"]), completed=run["closed"], width=16),
            f"{run['closed']:,}/{run['item_count']:,}",
            str(run["failed"]),
            rate,
            f"{run['calls_left']:,}" if run["calls_left"] else "",
            f"{run['eta'].astimezone():%a %H:%M}" if run["eta"] else "",
        )
    return table


def _supervisors_table(now: Overview) -> Table:
    numbers = ("workers", "busy", "holding")
    table = _table("supervisor", *numbers, "queues", right=numbers, long=("supervisor", "queues"))
    for row in now.supervisors[:MOST_SUPERVISORS]:
        counts = (str(row.workers), str(row.busy), str(row.holding))
        table.add_row(_cut(row.name), *counts, _cut(" ".join(row.queues)))
    return table


def _processes_table(now: Overview, is_whole: bool) -> Table:
    table = _table("process", "kind", "up", "seen s", "does", right=("up", "seen s"), long=("process", "does"))
    if not is_whole:
        table.columns[0].max_width = _WIDEST_NAME
    for row in sorted(now.processes, key=lambda row: not row.silent)[:MOST_PROCESSES]:
        up = _duration((now.at - row.started_at).total_seconds())
        does = row.doing if is_whole else row.doing.partition(";")[0]  # the rest of it is in the JSON
        cells = (f"{row.kind} {row.version}", up, f"{row.unseen_seconds:,.0f}", _cut(does))
        table.add_row(_cut(row.name), *cells, style=_STYLES["critical"] if row.silent else "")
    return table


def _failures_table(now: Overview) -> Table:
    table = _table("item", "job", "symbol", "error", long=("job", "error"))
    for row in now.failures:
        error = " ".join((row["error"] or "").split())
        table.add_row(f"{row['run_id']}:{row['seq']}", _cut(row["job"]), row["symbol"], _cut(error))
    return table


def _ticks_table(now: Overview) -> Table:
    table = _table("schedule", "in", right=("in",))
    for name, seconds in now.ticks[:5]:
        table.add_row(name, _duration(seconds))
    return table


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(abs(seconds)), 3600)
    minutes, left = divmod(rest, 60)
    text = f"{hours}h {minutes:02}m" if hours else f"{minutes}m {left:02}s"
    return f"-{text}" if seconds < 0 else text


def _list_queues(snapshot: Snapshot) -> list[QueueRow]:
    rows = []
    for name, age in snapshot.oldest_seconds.items():
        backlog = snapshot.sum_backlog(name)
        dead = snapshot.dead_by_queue.get(name, 0)
        places = backlog.waiting, backlog.pending, backlog.delayed
        pause = snapshot.pauses.get(name)
        rows.append(QueueRow(name, *places, dead, round(age, 1), pause.reason if pause is not None else None))
    return rows


def _list_supervisors(snapshot: Snapshot) -> list[SupervisorRow]:
    rows = []
    for name, supervisor in sorted(snapshot.supervisors.items()):
        busy = sum(worker.busy for worker in supervisor.workers)
        holding = sum(worker.hold is not None for worker in supervisor.workers)
        rows.append(
            SupervisorRow(name, len(supervisor.workers), busy, holding, tuple(list_queues_of(supervisor.queues)))
        )
    return rows


def _process_row(process: ProcessRecord) -> ProcessRow:
    doing = process.doing
    parts = [f"{doing['busy']} of {doing['workers']} busy"] if {"workers", "busy"} <= doing.keys() else []
    parts += [", ".join(doing.get(name, ())) for name in ("starts", "queues", "services")]
    parts += [f"{fault.get('who', '')}: {fault.get('text', '')}" for fault in doing.get("faults", ())]
    return ProcessRow(
        name=process.id,
        kind=process.kind,
        version=process.version,
        started_at=process.started_at,
        unseen_seconds=round(process.unseen_seconds, 1),
        silent=process.is_silent,
        doing="silent" if process.is_silent else "; ".join(part for part in parts if part),
    )
