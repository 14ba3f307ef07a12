"""The HTTP API of `streamworkers demo`: a token that ends with it, and requests to try."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import click

from streamworkers.actor import LOCAL
from streamworkers.admin.tokens import create_token, revoke_token
from streamworkers.database import Connection

_NAME = "demo"
_LIFE = timedelta(days=1)  # of one that a killed demo could not revoke
_PATHS = ("/api/v1/runs", "/api/v1/universes/demo", "/health")


@contextmanager
def demo_token(connection: Connection) -> Iterator[str]:
    """Make a token that reads and starts runs; it is revoked when the block ends."""
    made = create_token(connection, LOCAL, _NAME, LOCAL.user, ("read", "run"), _LIFE)
    try:
        yield made.text
    finally:
        revoke_token(connection, LOCAL, made.token.id)


def show_requests(url: str, token: str) -> None:
    """Print the token, and lines for a shell that use it."""
    click.echo(f"  export TOKEN={token}")
    for path in _PATHS:
        click.echo(f'  curl -H "Authorization: Bearer $TOKEN" {url}{path}')


def stay(minutes: int) -> None:
    """Wait for so long, or until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        threading.Event().wait(60.0 * minutes)
