"""`streamworkers cleanup`: delete old rows without a worker."""

from datetime import UTC, datetime

import click
from pydantic import ValidationError

from streamworkers.cli.confirming import ask_first, yes_option
from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.errors import BadInputError
from streamworkers.jobs.cleanup import PARTS, CleanupParameters, clean


@click.command(short_help="Delete rows that are older than their retention.")
@click.option("--dry-run", is_flag=True, help="Count the rows that would be deleted, and delete none.")
@yes_option
@json_option
def cleanup(dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete results, items, runs, firings, notifications and history that are older than the retention settings.

    The command deletes the rows itself, without a worker. The job `database_cleanup` does the same on a worker; the
    schedule `daily_database_cleanup` starts it each night.
    """
    session = Session.open()
    settings = session.settings
    try:
        parameters = CleanupParameters(
            pattern_days=settings.pattern_retention_days,
            indicator_days=settings.indicator_retention_days,
            run_item_days=settings.run_item_retention_days,
            run_event_days=settings.run_event_retention_days,
            run_days=settings.run_retention_days,
            health_days=settings.health_retention_days,
            alert_days=settings.alert_retention_days,
            notification_days=settings.notification_retention_days,
            message_days=settings.message_retention_days,
            dry_run=dry_run,
        )
    except ValidationError as error:
        raise BadInputError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    if not dry_run:
        ask_first("delete all rows that are older than the retention settings", yes=yes)
    with session.database() as connection:
        done = [clean(connection, part, parameters, datetime.now(UTC)) for part in PARTS]
    verb = "would_remove" if dry_run else "removed"
    rows = [
        {"table": cleaning.part, verb: cleaning.rows, "partitions": ", ".join(cleaning.partitions)} for cleaning in done
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {"table": "table", verb: verb.replace("_", " "), "partitions": "partitions"}, "")
