"""`streamworkers rejected`: entries that were taken out of a queue because they are no items, kept with their bytes."""

import base64

import click

from streamworkers.cli.confirming import ask_first, yes_option
from streamworkers.cli.known_names import require_known_queue
from streamworkers.cli.session import Session, json_option, limit_option, print_json, print_table
from streamworkers.engine.ledger import rejected as ledger_rejected
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.errors import BadInputError

_entry_id = click.IntRange(1, 2**63 - 1)


@click.group(short_help="List, show and purge rejected entries.")
def rejected() -> None:
    """Rejected entries: malformed, or of no run. They are kept with their bytes and the reason."""


@rejected.command("list", short_help="List rejected entries, newest first.")
@click.option("--queue", help="Only entries of this queue.")
@limit_option
@json_option
def list_rejected(queue: str | None, limit: int, as_json: bool) -> None:
    """List rejected entries, newest first."""
    with Session.open().database() as connection:
        rows = ledger_reports.list_rejected(connection, queue, limit)
        if queue is not None and not rows:
            require_known_queue(connection, queue)
    columns = {"id": "id", "queue": "queue", "entry_id": "entry", "size": "bytes", "rejected_at": "rejected"}
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {**columns, "reason": "error"}, "no rejected entries")


@rejected.command(short_help="Show a rejected entry with its bytes.")
@click.argument("entry", type=_entry_id)
@click.option("--raw", is_flag=True, help="Write the bytes unchanged, for a pipe.")
@json_option
def show(entry: int, raw: bool, as_json: bool) -> None:
    """Show a rejected entry with its bytes: escaped, raw with --raw, in base64 with --json."""
    with Session.open().database() as connection:
        row = ledger_reports.read_rejected(connection, entry)
    if row is None:
        raise BadInputError(f"no rejected entry has the id {entry}: see `streamworkers rejected list`")
    payload = row.pop("payload")
    if raw:
        click.echo(payload, nl=False)
    elif as_json:
        print_json({**row, "payload_base64": base64.b64encode(payload).decode()})
    else:
        click.echo(f"{row['queue']} {row['entry_id']}, {row['size']} bytes: {row['reason']}")
        click.echo(payload.decode("ascii", "backslashreplace") if payload.isascii() else repr(payload)[2:-1])


@rejected.command(short_help="Delete rejected entries.")
@click.argument("ids", nargs=-1, type=_entry_id)
@click.option("--all", "everything", is_flag=True, help="Delete all rejected entries.")
@yes_option
def purge(ids: tuple[int, ...], everything: bool, yes: bool) -> None:
    """Delete the rejected entries with these ids, or all."""
    if bool(ids) == everything:
        raise BadInputError("name ids or --all: exactly one of the two")
    if everything:
        ask_first("delete all rejected entries", yes=yes)
    with Session.open().database() as connection:
        count = ledger_rejected.purge_rejected(connection, None if everything else ids)
    click.echo(f"purged {count} entries")
