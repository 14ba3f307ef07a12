"""`streamworkers audit`: who changed what, and whether the record of it was changed."""

from dataclasses import asdict

import click

from streamworkers.audit.listing import AuditFilter, list_actions, list_audit
from streamworkers.audit.seals import verify
from streamworkers.cli.checked_text import check_since
from streamworkers.cli.session import Session, json_option, limit_option, parse_since, print_json, print_table
from streamworkers.database import Connection
from streamworkers.errors import UnknownNameError
from streamworkers.users import require_user

_COLUMNS = {
    "id": "row",
    "at": "at",
    "actor": "actor",
    "action": "action",
    "object": "object",
    "outcome": "outcome",
    "reason": "reason",
}


@click.group(short_help="The audit log: list it, and verify its seals.")
def audit() -> None:
    """The audit log: who changed what, by which way. Rows are added in the transaction of the change."""


@audit.command("list", short_help="List changes, the newest first.")
@click.option("--user", help="Only changes by this user.")
@click.option("--action", help="Only this action, such as run.cancel.")
@click.option("--outcome", type=click.Choice(["ok", "rejected", "failed"]), help="Only changes with this outcome.")
@click.option("--since", callback=check_since, help="Only changes since this date or ISO time.")
@limit_option
@json_option
def list_command(
    user: str | None, action: str | None, outcome: str | None, since: str | None, limit: int, as_json: bool
) -> None:
    """List changes, the newest first, rejected ones too."""
    wanted = AuditFilter(user, action, outcome, since=parse_since(since) if since else None)
    with Session.open().database() as connection:
        rows = list_audit(connection, wanted, limit)
        if not rows:
            _require_known(connection, wanted)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["actor"] = f"{row['actor_kind']}:{row['actor_user']}"
        row["object"] = f"{row['object_type']} {row['object_id']}"
    print_table(rows, _COLUMNS, "no changes match")


def _require_known(connection: Connection, wanted: AuditFilter) -> None:
    """Raise UnknownNameError for a user who is not there and has changed nothing, and for an action without a row."""
    if wanted.user is not None and not list_audit(connection, AuditFilter(wanted.user), 1):
        require_user(connection, wanted.user)
    if wanted.action is not None and wanted.action not in (known := list_actions(connection)):
        raise UnknownNameError("action in the log", wanted.action, known)


@audit.command("verify", short_help="Compare the log with its seals.")
@json_option
def verify_command(as_json: bool) -> int:
    """Compare the log with its seals. Exit code 1 if a row or a seal was changed, added or removed since."""
    with Session.open().database() as connection:
        verdict = verify(connection)
    if as_json:
        print_json(asdict(verdict))
    else:
        for trouble in verdict.troubles:
            click.echo(trouble)
        click.echo(f"{verdict.rows} rows under {verdict.seals} seals, {verdict.unsealed} not sealed yet")
        if verdict.newest:
            click.echo(f"newest seal: {verdict.newest}")
    return 1 if verdict.troubles else 0
