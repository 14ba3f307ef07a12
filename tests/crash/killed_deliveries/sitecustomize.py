"""Lets processes with this folder on their path die at a point of a delivery that its text names, once for each text.

Python imports a module of this name when it starts. `DEATHS` is the folder of the marks. A delivery of the type `bare`
is sent without the claim protocol: its claim is forgotten before it is claimed again, as a control.
"""

import os
import re
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

from streamworkers.database import Connection
from streamworkers.notifications.channels import http
from streamworkers.notifications.channels.telegram import Telegram
from streamworkers.notifications.delivery import calls
from streamworkers.notifications.store.sending import FoundDelivery, claim_delivery
from streamworkers.testing.killing import die_once

_NAME = re.compile(r"(?:PLAIN|CLAIMED|TAKEN|ANSWERED|RECORDED)-\d")
_now = threading.local()
_send, _read = Telegram.send, http._read


def _die(point: str, name: str) -> None:
    if name.startswith(point):
        die_once(Path(os.environ["DEATHS"], name))


def _send_or_die(self: Telegram, part: Any, *arguments: Any, **words: Any) -> str | None:
    found = _NAME.search(part["html"])
    _now.name = found[0] if found else ""
    _die("CLAIMED", _now.name)
    if "<b>" not in part["html"]:  # the second part, so the first one is recorded
        _die("RECORDED", _now.name)
    identifier = _send(self, part, *arguments, **words)
    _die("ANSWERED", _now.name)
    return identifier


def _read_or_die(*arguments: Any) -> Any:
    """The server has taken the request; its answer is not read yet."""
    _die("TAKEN", getattr(_now, "name", ""))
    return _read(*arguments)


def _claim_or_forget(connection: Connection, delivery: UUID, *arguments: Any) -> FoundDelivery:
    connection.execute("UPDATE deliveries SET claim = NULL WHERE id = %s AND type = 'bare'", (delivery,))
    return claim_delivery(connection, delivery, *arguments)


setattr(Telegram, "send", _send_or_die)  # noqa: B010  # of other parameters
setattr(http, "_read", _read_or_die)  # noqa: B010
setattr(calls, "claim_delivery", _claim_or_forget)  # noqa: B010
