"""`streamworkers dead`: items that gave up, kept until they are replayed or purged."""

import base64
from collections.abc import Callable
from typing import Any

import click

from streamworkers.admin import runs as operations
from streamworkers.cli.session import (
    F,
    Session,
    json_option,
    limit_option,
    messages,
    parse_since,
    print_json,
    print_table,
)
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.ledger.reports import DeadFilter
from streamworkers.errors import BadInputError

_MOST = 1_000_000


def _filters(command: F) -> F:
    options: list[Callable[[F], F]] = [
        click.option("--run", "run_id", type=click.IntRange(1, 2**63 - 1), help="Only items of this run."),
        click.option("--job", help="Only items of this job."),
        click.option("--symbol", help="Only items of this symbol."),
        click.option("--error-like", help="Only items whose error holds this text."),
        click.option("--since", help="Only items that died since: a date or an ISO time."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _filter(words: dict[str, Any]) -> DeadFilter:
    since = parse_since(words["since"]) if words["since"] else None
    return DeadFilter(words["run_id"], words["job"], words["symbol"], words["error_like"], since)


@click.group()
def dead() -> None:
    """Dead items: those that used up their attempts. An item is named RUN:SEQ, as `dead list` shows it."""


@dead.command("list")
@_filters
@limit_option
@json_option
def list_dead(limit: int, as_json: bool, **words: Any) -> None:
    """Dead items, newest runs first."""
    with Session.open().database() as connection:
        rows = ledger_reports.dead_items(connection, _filter(words), limit)
        rejected = ledger_reports.rejected_entries(connection, None, 1)
    rows = [{"item": f"{row['run_id']}:{row['seq']}", **row} for row in rows]
    if as_json:
        print_json(rows)
        return
    columns = {"item": "item", "job": "job", "symbol": "symbol", "attempt": "attempts", "finished_at": "died"}
    print_table(rows, {**columns, "error": "error"}, "no dead items")
    if rejected:
        messages.print("there are rejected entries too: streamworkers dead entries list", markup=False)


@dead.command()
@click.argument("item")
@json_option
def show(item: str, as_json: bool) -> None:
    """One dead item with the error of every attempt."""
    with Session.open().database() as connection:
        row = _require_dead(connection, item)
    if as_json:
        print_json(row)
        return
    click.echo(f"{item}: {row['symbol']} died in attempt {row['attempt']}: {row['error']}")
    print_table(
        row["history"] or [], {"attempt": "attempt", "at": "at", "worker": "worker", "error": "error"}, "no history"
    )


@dead.command(short_help="Run dead items again, from attempt 1.")
@click.argument("items", nargs=-1)
@_filters
@click.option("--all", "everything", is_flag=True, help="All dead items.")
@click.option("--dry-run", is_flag=True, help="Say what would be replayed.")
def replay(items: tuple[str, ...], everything: bool, dry_run: bool, **words: Any) -> None:
    """Run dead items again, from attempt 1, their history kept: named ones, or all that match the filters."""
    session = Session.open()
    with session.database() as connection:
        chosen = _choose(connection, items, everything, words)
        if dry_run:
            click.echo(f"would replay {len(chosen)} items")
            return
        with session.streams() as streams:
            count = operations.replay(connection, streams, chosen)
    click.echo(f"replayed {count} items")


@dead.command(short_help="Give dead items up for good.")
@click.argument("items", nargs=-1)
@_filters
@click.option("--all", "everything", is_flag=True, help="All dead items.")
@click.option("--dry-run", is_flag=True, help="Say what would be purged.")
def purge(items: tuple[str, ...], everything: bool, dry_run: bool, **words: Any) -> None:
    """Give dead items up for good: they become cancelled and keep their error."""
    with Session.open().database() as connection:
        chosen = _choose(connection, items, everything, words)
        if dry_run:
            click.echo(f"would purge {len(chosen)} items")
            return
        count = operations.purge(connection, chosen)
    click.echo(f"purged {count} items")


@dead.group(short_help="Rejected entries: no items of ours, with their bytes.")
def entries() -> None:
    """Rejected entries: what was found in a queue and is no item of ours. Their bytes are kept."""


@entries.command("list")
@click.option("--queue", help="Only entries of this queue.")
@limit_option
@json_option
def list_entries(queue: str | None, limit: int, as_json: bool) -> None:
    """Rejected entries, the newest first."""
    with Session.open().database() as connection:
        rows = ledger_reports.rejected_entries(connection, queue, limit)
    columns = {"id": "id", "queue": "queue", "entry_id": "entry", "size": "bytes", "rejected_at": "rejected"}
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {**columns, "reason": "error"}, "no rejected entries")


@entries.command("show", short_help="One rejected entry with its bytes.")
@click.argument("entry", type=click.IntRange(1, 2**63 - 1))
@click.option("--raw", is_flag=True, help="Write the bytes as they are, to be piped.")
@json_option
def show_entry(entry: int, raw: bool, as_json: bool) -> None:
    """One rejected entry with its bytes: escaped, raw, or in base64 with --json."""
    with Session.open().database() as connection:
        row = ledger_reports.rejected_entry(connection, entry)
    if row is None:
        raise BadInputError(f"no rejected entry has the id {entry}: see `streamworkers dead entries list`")
    payload = row.pop("payload")
    if raw:
        click.echo(payload, nl=False)
    elif as_json:
        print_json({**row, "payload_base64": base64.b64encode(payload).decode()})
    else:
        click.echo(f"{row['queue']} {row['entry_id']}, {row['size']} bytes: {row['reason']}")
        click.echo(payload.decode("ascii", "backslashreplace") if payload.isascii() else repr(payload)[2:-1])


@entries.command("purge")
@click.argument("ids", nargs=-1, type=click.IntRange(1, 2**63 - 1))
@click.option("--all", "everything", is_flag=True, help="All rejected entries.")
def purge_entries(ids: tuple[int, ...], everything: bool) -> None:
    """Delete rejected entries, by id or all."""
    if bool(ids) == everything:
        raise BadInputError("name ids or --all: exactly one of the two")
    with Session.open().database() as connection:
        count = ledger.purge_rejected(connection, None if everything else ids)
    click.echo(f"purged {count} entries")


def _choose(
    connection: Connection, items: tuple[str, ...], everything: bool, words: dict[str, Any]
) -> list[tuple[int, int]]:
    filtered = any(value is not None for value in words.values())
    if sum((bool(items), everything, filtered)) != 1:
        raise BadInputError("name items, or filters, or --all: exactly one of the three")
    if items:
        rows = [_require_dead(connection, item) for item in dict.fromkeys(items)]
        return [(row["run_id"], row["seq"]) for row in rows]
    return [(row["run_id"], row["seq"]) for row in ledger_reports.dead_items(connection, _filter(words), _MOST)]


def _require_dead(connection: Connection, item: str) -> ledger_reports.Row:
    run_id, seq = _parse_item(item)
    row = ledger_reports.dead_item(connection, operations.require_run(connection, run_id), seq)
    if row is None:
        raise BadInputError(f"item {item} is not dead: see `streamworkers dead list --run {run_id}`")
    return row


def _parse_item(text: str) -> tuple[int, int]:
    run, _, seq = text.partition(":")
    if not (run.isdecimal() and seq.isdecimal()):
        raise BadInputError(f"{text!r} is not an item as RUN:SEQ, such as 42:17")
    return int(run), int(seq)
