"""`streamworkers dead`: items that used up their attempts, kept until they are replayed or purged."""

from collections.abc import Callable
from typing import Any

import click

from streamworkers.admin import runs as admin
from streamworkers.cli.checked_text import check_since
from streamworkers.cli.confirming import ask_first, yes_option
from streamworkers.cli.item_view import parse_item, print_attempts
from streamworkers.cli.known_names import has_symbols, require_dead_symbol, require_known_job
from streamworkers.cli.rejected import rejected
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
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.ledger.reports import DeadFilter
from streamworkers.errors import BadInputError

_MOST = 1_000_000
_MOST_NAMES = 10_000


def _add_filters(command: F) -> F:
    options: list[Callable[[F], F]] = [
        click.option("--run", "run_id", type=click.IntRange(1, 2**63 - 1), help="Only items of this run."),
        click.option("--job", help="Only items of this job."),
        click.option("--symbol", help="Only items of this symbol."),
        click.option("--error-like", help="Only items whose error contains this text."),
        click.option("--since", callback=check_since, help="Only items that died since this date or ISO time."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _make_filter(words: dict[str, Any]) -> DeadFilter:
    since = parse_since(words["since"]) if words["since"] else None
    return DeadFilter(words["run_id"], words["job"], words["symbol"], words["error_like"], since)


@click.group(short_help="List, show, replay and purge dead items.")
def dead() -> None:
    """Dead items: they used up their attempts. An item is named RUN:SEQ, as `dead list` prints it."""


@dead.command("list", short_help="List dead items, newest runs first.")
@_add_filters
@limit_option
@json_option
def list_dead(limit: int, as_json: bool, **words: Any) -> None:
    """List dead items, newest runs first."""
    with Session.open().database() as connection:
        rows = _find_dead(connection, words, limit)
        has_rejected = bool(ledger_reports.list_rejected(connection, None, 1))
    rows = [{"item": f"{row['run_id']}:{row['seq']}", **row} for row in rows]
    if as_json:
        print_json(rows)
        return
    columns = {"item": "item", "job": "job", "symbol": "symbol", "attempt": "attempts", "finished_at": "died"}
    print_table(rows, {**columns, "error": "error"}, "no dead items")
    if has_rejected:
        messages.print("there are rejected entries too: streamworkers rejected list", markup=False)


@dead.command(short_help="Show a dead item with all its errors.")
@click.argument("item")
@json_option
def show(item: str, as_json: bool) -> None:
    """Show a dead item with the error of every attempt, and where the newest one failed."""
    with Session.open().database() as connection:
        row = _require_dead(connection, item)
    if as_json:
        print_json(row)
        return
    click.echo(f"{item}: {row['symbol']} died in attempt {row['attempt']}: {row['error']}")
    print_attempts(row["history"])


@dead.command(short_help="Run dead items again, from attempt 1.")
@click.argument("items", nargs=-1)
@_add_filters
@click.option("--all", "everything", is_flag=True, help="All dead items.")
@click.option("--dry-run", is_flag=True, help="Print how many items would be replayed.")
def replay(items: tuple[str, ...], everything: bool, dry_run: bool, **words: Any) -> None:
    """Run dead items again, from attempt 1: the named items, or all that match the filters. Their history is kept."""
    session = Session.open()
    with session.database() as connection:
        chosen = _choose(connection, items, everything, words)
        if dry_run:
            click.echo(f"would replay {len(chosen)} items")
            return
        with session.streams() as streams:
            count = admin.replay(connection, streams, chosen)
    click.echo(f"replayed {count} items")


@dead.command(short_help="Cancel dead items for good.")
@click.argument("items", nargs=-1)
@_add_filters
@click.option("--all", "everything", is_flag=True, help="All dead items.")
@click.option("--dry-run", is_flag=True, help="Print how many items would be purged.")
@yes_option
def purge(items: tuple[str, ...], everything: bool, dry_run: bool, yes: bool, **words: Any) -> None:
    """Cancel dead items for good: the named items, or all that match the filters. Their errors are kept."""
    with Session.open().database() as connection:
        chosen = _choose(connection, items, everything, words)
        if dry_run:
            click.echo(f"would purge {len(chosen)} items")
            return
        if not items:
            ask_first(f"cancel {len(chosen)} dead items for good", yes=yes)
        count = admin.purge(connection, chosen)
    click.echo(f"purged {count} items")


# The former name of `streamworkers rejected`, for one more release.
@dead.group(hidden=True, commands=rejected.commands)
def entries() -> None:
    """Rejected entries. Use `streamworkers rejected`; this name will be removed in the next release."""
    text = "`dead entries` is now `streamworkers rejected`; the old name will be removed in the next release"
    click.echo(f"Warning: {text}", err=True)


def _choose(
    connection: Connection, items: tuple[str, ...], everything: bool, words: dict[str, Any]
) -> list[tuple[int, int]]:
    filtered = any(value is not None for value in words.values())
    if sum((bool(items), everything, filtered)) != 1:
        raise BadInputError("name items, or filters, or --all: exactly one of the three")
    if items:
        rows = [_require_dead(connection, item) for item in dict.fromkeys(items)]
        return [(row["run_id"], row["seq"]) for row in rows]
    return [(row["run_id"], row["seq"]) for row in _find_dead(connection, words, _MOST)]


def _find_dead(connection: Connection, words: dict[str, Any], limit: int) -> list[ledger_reports.Row]:
    """The dead items that match the filters. Raises UnknownNameError for a run, job or symbol that there is not."""
    wanted = _make_filter(words)
    rows = ledger_reports.list_dead_items(connection, wanted, limit)
    if not rows:
        _require_known(connection, wanted)
    return rows


def _require_known(connection: Connection, wanted: DeadFilter) -> None:
    if wanted.run_id is not None:
        admin.require_run(connection, wanted.run_id)
    if wanted.job is not None:
        require_known_job(connection, wanted.job)
    if wanted.symbol is not None and has_symbols(connection, wanted.job):
        dead = ledger_reports.list_dead_items(connection, DeadFilter(wanted.run_id, wanted.job), _MOST_NAMES)
        require_dead_symbol(connection, wanted.symbol, (row["symbol"] for row in dead))


def _require_dead(connection: Connection, item: str) -> ledger_reports.Row:
    run_id, seq = parse_item(item)
    row = ledger_reports.read_dead_item(connection, admin.require_run(connection, run_id), seq)
    if row is None:
        raise BadInputError(f"item {item} is not dead: see `streamworkers dead list --run {run_id}`")
    return row
