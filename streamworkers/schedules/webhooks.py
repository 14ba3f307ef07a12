"""The webhook of a schedule's runs: its rule, which is PostgreSQL's, and how it is shown."""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from streamworkers.database import Connection, fetch_value
from streamworkers.engine.ledger.webhooks import show_webhook_url
from streamworkers.errors import BadInputError

# In the words of PostgreSQL's rule, for what is not even of this form.
WEBHOOK_FORM = "webhook is not an object with the fields url and secrets alone"


def require_webhook(connection: Connection, name: str, webhook: Mapping[str, Any] | None) -> None:
    """Check the webhook of a schedule by the rule of submitted runs. Raises BadInputError, which shows no URL."""
    if webhook is None:
        return
    try:
        problem = fetch_value(connection, "SELECT find_webhook_error(%s)", (Jsonb(dict(webhook)),))
    except psycopg.DataError:  # characters that no text has
        problem = WEBHOOK_FORM
    if problem is not None:
        raise BadInputError(f"schedule {name!r}: {problem}")


def hide_webhook_url(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a definition as they may be shown: the webhook's URL can hold a secret."""
    webhook = fields.get("webhook")
    if webhook is None:
        return dict(fields)
    return {**fields, "webhook": {**webhook, "url": show_webhook_url(webhook["url"])}}


def keep_shown_webhook(given: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return given fields with the stored webhook where they have it as it is shown: who read it may write it back."""
    kept = before.get("webhook") if before is not None else None
    is_kept = kept is not None and given.get("webhook") == hide_webhook_url({"webhook": kept})["webhook"]
    return {**given, "webhook": kept} if is_kept else dict(given)
