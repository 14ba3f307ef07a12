"""`streamworkers tokens`: who may use the HTTP API."""

from datetime import timedelta
from typing import Any

import click

from streamworkers.actor import LOCAL
from streamworkers.admin.tokens import (
    GRACE,
    LIFE,
    LONGEST_LIFE,
    SCOPES,
    ApiToken,
    NewToken,
    create_token,
    list_tokens,
    revoke_token,
    rotate_token,
)
from streamworkers.cli.session import Number, Session, json_option, print_json, print_table
from streamworkers.users import require_user

_COLUMNS = {
    "id": "token",
    "name": "name",
    "user": "user",
    "scopes": "scopes",
    "state": "state",
    "expires_at": "expires",
    "last_used_at": "last used",
}
token_argument = click.argument("token", type=click.IntRange(1, 2**63 - 1))


@click.group(short_help="Tokens of the HTTP API: create, list, rotate, revoke.")
def tokens() -> None:
    """Tokens of the HTTP API: who may use it, for whom, and for what. docs/guides/api.md says what a scope allows."""


@tokens.command(short_help="Make a token; it is shown once.")
@click.argument("name")
@click.option("--user", default="local", show_default=True, help="For whom it acts; a new name makes a user.")
@click.option(
    "--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="What it may do; repeatable."
)
@click.option(
    "--days",
    type=click.IntRange(1, LONGEST_LIFE.days),
    default=LIFE.days,
    show_default=True,
    help="Days until it expires.",
)
@json_option
def create(name: str, user: str, scopes: tuple[str, ...], days: int, as_json: bool) -> None:
    """Make a token NAME. Its text is shown once: only a digest of it is kept."""
    with Session.open().database() as connection:
        made = create_token(connection, LOCAL, name, user, scopes, timedelta(days=days))
    _show_new(made, as_json)


@tokens.command("list", short_help="List tokens and when they were used.")
@click.option("--user", help="Only tokens of this user.")
@json_option
def list_command(user: str | None, as_json: bool) -> None:
    """List tokens, the newest first: whose they are, what they may do, and when they were used last."""
    with Session.open().database() as connection:
        rows = [_to_row(token) for token in list_tokens(connection, user)]
        if user is not None and not rows:
            require_user(connection, user)
    if as_json:
        print_json(rows)
        return
    shown = [{**row, "scopes": " ".join(row["scopes"])} for row in rows]
    print_table(shown, _COLUMNS, "no tokens yet: streamworkers tokens create NAME --scope read")


@tokens.command(short_help="Make the successor of a token.")
@token_argument
@click.option(
    "--grace",
    type=Number(0, 10_080),
    default=GRACE.total_seconds() / 60,
    show_default=True,
    help="Minutes for which the old one is still good.",
)
@json_option
def rotate(token: int, grace: float, as_json: bool) -> None:
    """Make the successor of TOKEN, a number of `tokens list`; the old one is good for --grace minutes more."""
    with Session.open().database() as connection:
        made = rotate_token(connection, LOCAL, token, timedelta(minutes=grace))
    _show_new(made, as_json)


@tokens.command(short_help="Reject a token from now on.")
@token_argument
@json_option
def revoke(token: int, as_json: bool) -> None:
    """Reject TOKEN, a number of `tokens list`, from now on."""
    with Session.open().database() as connection:
        revoked = revoke_token(connection, LOCAL, token)
    if as_json:
        print_json(_to_row(revoked))
    else:
        click.echo(f"token {token} ({revoked.name}) is revoked")


def _show_new(made: NewToken, as_json: bool) -> None:
    row = _to_row(made.token)
    if as_json:
        print_json({**row, "token": made.text})
        return
    click.echo(made.text)
    scopes, expires = " ".join(row["scopes"]), row["expires_at"].date()
    click.echo(
        f"token {row['id']} ({row['name']}) acts for user {row['user']} with {scopes} until {expires}; it is not shown"
        " again",
        err=True,
    )


def _to_row(token: ApiToken) -> dict[str, Any]:
    names = ("id", "name", "user", "scopes", "state", "created_at", "created_by", "expires_at", "last_used_at")
    return {**{name: getattr(token, name) for name in names}, "rotated_from": token.rotated_from}
