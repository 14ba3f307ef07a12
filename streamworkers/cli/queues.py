"""`streamworkers queues`: what waits in each queue and lane, and pausing and resuming a queue."""

from typing import Any

import click

from streamworkers.admin import queues as admin
from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.database import Connection
from streamworkers.engine.ledger.pauses import read_pauses
from streamworkers.engine.ledger.reports import count_open_runs
from streamworkers.engine.redis.lanes import lanes_of, priority_of, queue_of
from streamworkers.engine.redis.streams import Streams

queue_argument = click.argument("queue")


@click.group()
def queues() -> None:
    """Queues: what waits in them; pause and resume them."""


@queues.command("list", short_help="List the queues, and what waits in them.")
@json_option
def list_queues(as_json: bool) -> None:
    """List the queues with their lanes: what waits, who serves them, and which are paused.

    `executing` are the entries that workers have, `delayed` those that wait for their time. `workers` are the live
    worker processes that read a lane, `runs` the open runs that have their entries in it.
    """
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        rows = _list_rows(connection, streams)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["oldest"] = f"{row['oldest_seconds']:,.0f} s" if row["waiting"] or row["executing"] else ""
        row["paused"] = admin.describe_pause(row["pause"]) if row["pause"] is not None else ""
    columns = ("queue", "priority", "waiting", "delayed", "executing", "oldest", "workers", "runs", "paused")
    print_table(rows, {name: name for name in columns}, "no queue: no worker has run yet")


@queues.command(short_help="Let workers begin nothing of a queue.")
@queue_argument
@click.option("--reason", required=True, help="Why, for everybody who looks: 1 to 500 characters.")
@json_option
def pause(queue: str, reason: str, as_json: bool) -> None:
    """Pause QUEUE in all its lanes: workers begin nothing of it until `queues resume`.

    What is executed ends normally; the command waits for that for a second. Runs are still started and wait; delays and
    retries keep their time.
    """
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        made, executing = admin.pause_queue(connection, streams, queue, reason)
    if as_json:
        print_json({**made._asdict(), "executing": executing})
        return
    click.echo(f"queue {queue} is paused: {executing} of its items are still executed, and end normally")
    click.echo(f"resume it: streamworkers queues resume {queue}")


@queues.command(short_help="Let workers go on with a queue.")
@queue_argument
@json_option
def resume(queue: str, as_json: bool) -> None:
    """End the pause of QUEUE: workers go on with it within a second."""
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        ended = admin.resume_queue(connection, streams, queue)
    if as_json:
        print_json(ended._asdict())
        return
    click.echo(f"queue {queue} goes on; it was paused {admin.describe_pause(ended)}")


def _list_rows(connection: Connection, streams: Streams) -> list[dict[str, Any]]:
    pauses, open_runs = read_pauses(connection), count_open_runs(connection)
    readers: dict[str, int] = {}
    for supervisor in streams.inspector.read_heartbeats().values():
        for worker in supervisor.workers:
            for lane in worker.queues:
                readers[lane] = readers.get(lane, 0) + 1
    known = admin.list_queue_names(connection, streams)
    rows = []
    for queue in sorted({*known, *pauses, *map(queue_of, open_runs)} - {""}):
        for lane, (backlog, oldest_seconds) in streams.inspector.read_lanes(lanes_of(queue)).items():
            rows.append(
                {
                    "queue": queue,
                    "priority": priority_of(lane),
                    "waiting": backlog.waiting,
                    "delayed": backlog.delayed,
                    "executing": backlog.pending,
                    "oldest_seconds": round(oldest_seconds, 1),
                    "workers": readers.get(lane, 0),
                    "runs": open_runs.get(lane, 0),
                    "pause": pauses.get(queue),
                }
            )
    return rows
