"""Who is called at the end of a run: the options that say so, and how the call stands, in words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from streamworkers.errors import BadInputError

WEBHOOK_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option("--webhook", metavar="URL", help="Call this URL once the run has ended; env:NAME, if it is a secret."),
    click.option(
        "--webhook-secret",
        multiple=True,
        metavar="env:NAME",
        help="The variable of the workers with the secret that signs the call; repeatable.",
    ),
)


def read_webhook(url: str | None, secrets: Sequence[str]) -> dict[str, Any] | None:
    """Return the webhook that the options name. Raises BadInputError for one option without the other."""
    if (url is None) != (not secrets):
        raise BadInputError("--webhook is signed with --webhook-secret: name both")
    return None if url is None else {"url": url, "secrets": list(secrets)}


def describe_webhook(webhook: Mapping[str, Any] | None) -> str | None:
    """How the call of a run's webhook stands, as rows of runs have it; None without a webhook."""
    if webhook is None:
        return None
    match webhook["state"]:
        case "waiting":
            words = "is called when the run has ended"
        case "removed":
            words = "the record of its call is removed"
        case "sent":
            words = f"sent at {webhook['sent_at']} as {webhook['id']}"
        case state:
            reason = f": {webhook['reason']}" if webhook["reason"] else ""
            words = f"{state} after {webhook['attempts']} attempts{reason} ({webhook['id']})"
    return f"{webhook['url']}: {words}"
