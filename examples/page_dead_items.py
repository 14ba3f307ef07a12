"""A hook that tells a service on this machine, by one datagram for each call, which items are dead."""

import json
import socket
from collections.abc import Sequence

from streamworkers.hooks import HookCall, HookItem, Hooks


class PageDeadItems(Hooks):
    """Sends at most a datagram for each call, and waits for no answer."""

    address = ("127.0.0.1", 8125)

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def on_dead(self, call: HookCall, items: Sequence[HookItem]) -> None:
        """Send the job, the run, and the first items with their errors."""
        dead = {item.key: item.error for item in items[:10]}
        message = {"job": call.job, "run": call.run_id, "count": len(items), "dead": dead}
        self._socket.sendto(json.dumps(message).encode(), self.address)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
