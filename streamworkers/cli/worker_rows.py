"""Rows and lines of `streamworkers workers`: a supervisor, and what each of its workers does."""

from datetime import UTC, datetime
from typing import Any

import click

from streamworkers.admin.workers import name_state
from streamworkers.cli.session import print_table, show_whole_seconds
from streamworkers.engine.ledger.processes import ProcessRecord
from streamworkers.engine.redis.heartbeats import SupervisorStatus, WorkerStatus
from streamworkers.engine.redis.lanes import list_queues_of


def describe_supervisor(process: ProcessRecord, order: str) -> dict[str, Any]:
    """A supervisor as PostgreSQL saw it last; `order` is the newest order for it, in words."""
    doing = process.doing
    return {
        "supervisor": process.id,
        "host": process.host,
        "pid": process.pid,
        "release": process.version,
        "started": process.started_at,
        "seen_at": process.seen_at,
        "unseen_seconds": round(process.unseen_seconds, 1),
        "state": name_state(process),
        "wanted": doing.get("wanted"),
        "ready": doing.get("ready"),
        "busy": doing.get("busy"),
        "queues": doing.get("queues", []),
        "order": order,
    }


def list_worker_rows(heartbeat: SupervisorStatus) -> list[dict[str, Any]]:
    """What each worker of a supervisor did when that reported last; moments are by Redis' clock."""
    rows = []
    for worker in heartbeat.workers:
        call, since = worker.call, None
        if call is not None:
            since = datetime.fromtimestamp(heartbeat.began_at(call), UTC)
        rows.append(
            {
                "worker": worker.consumer,
                "pid": worker.pid,
                "queues": list_queues_of(worker.queues),
                "state": _name_worker_state(worker),
                "job": None if call is None else call.job,
                "items": None if call is None else call.count,
                "since": since,
                "limit_seconds": None if call is None else call.timeout_seconds,
                "hold": None if worker.hold is None else worker.hold.text,
            }
        )
    return rows


def _name_worker_state(worker: WorkerStatus) -> str:
    if worker.is_stopping:
        return "finishing" if worker.busy else "ending"
    if worker.busy:
        return "busy"
    return "idle" if worker.is_ready else "starting"


def print_supervisor(row: dict[str, Any]) -> None:
    """Print a supervisor for people: what it is, its workers, and its faults."""
    numbers = f"{row['wanted']} wanted, {row['ready']} ready, {row['busy']} busy"
    click.echo(f"supervisor {row['supervisor']}: {row['state']}, last seen {row['unseen_seconds']:.0f} s ago")
    click.echo(f"host {row['host']}, process {row['pid']}, release {row['release']}, started {row['started']:%F %T %Z}")
    click.echo(f"workers: {numbers}; queues: {' '.join(row['queues'])}")
    if row["order"]:
        click.echo(f"newest order: {row['order']}")
    for fault in row["faults"]:
        click.echo(f"fault: {fault['who']}: {fault['text']}")
    click.echo()
    if row["report_seconds"] is None:
        click.echo("no report of its workers in Redis")
        return
    rows = [
        {**worker, "queues": " ".join(worker["queues"]), "limit_seconds": show_whole_seconds(worker["limit_seconds"])}
        for worker in row["workers"]
    ]
    columns = {name: name for name in ("worker", "pid", "state", "job", "items", "since")}
    columns |= {"limit_seconds": "limit s", "queues": "queues", "hold": "waits for"}
    print_table(rows, columns, "it has no worker")
    click.echo(f"\nas its workers were {row['report_seconds']:.0f} s ago")
