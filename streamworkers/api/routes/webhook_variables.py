"""Which variables of the pool's environment a webhook may name over HTTP."""

from collections.abc import Mapping
from typing import Any

from streamworkers.api.call import ApiCall
from streamworkers.api.problem import Problem
from streamworkers.notifications.channels.references import is_reference

PREFIX = "WEBHOOK_"


def require_usable_variables(
    call: ApiCall, webhook: Mapping[str, Any] | None, kept: Mapping[str, Any] | None = None
) -> None:
    """Raise Problem if a caller who is no admin names a variable without the prefix; the webhook `kept` is let be.

    Who chooses both the receiver and the secret that signs could try values of any secret of the pool against it.
    """
    if webhook is None or webhook == kept or call.caller.is_admin:
        return
    for text in (webhook["url"], *webhook["secrets"]):
        if is_reference(text) and not text.removeprefix("env:").startswith(PREFIX):
            raise Problem(403, "forbidden", f"only an admin names a variable without the prefix {PREFIX}: {text[:100]}")
