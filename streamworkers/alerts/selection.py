"""Chooses alerts of a user: by name, symbol, universe, timeframe and group."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from streamworkers.alerts.store.alerts import StoredAlert, list_alerts
from streamworkers.alerts.store.symbols import read_symbols
from streamworkers.database import Connection
from streamworkers.errors import BadInputError


@dataclass(frozen=True, slots=True)
class AlertSelector:
    """What an alert has to be; without any condition, every alert of the user is chosen.

    `name` may have `*` and `?`. `symbol` is one that the alert is about now, `universe` the expression as it has it.
    """

    name: str | None = None
    symbol: str | None = None
    universe: str | None = None
    timeframe: str | None = None
    group: str | None = None

    def describe(self) -> str:
        """The conditions in words, for messages."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return " ".join(f"{name} {value!r}" for name, value in named.items() if value is not None) or "any"

    def accepts(self, stored: StoredAlert) -> bool:
        """True for an alert that fits, whatever its symbols."""
        return (
            (self.name is None or fnmatchcase(stored.name, self.name))
            and self.universe in (None, stored.universe)
            and self.timeframe in (None, stored.timeframe)
            and (self.group is None or stored.document.get("notify", {}).get("group") == self.group)
        )


def select_alerts(connection: Connection, user: str, selector: AlertSelector) -> list[StoredAlert]:
    """The alerts of a user that a selector chooses, by name."""
    found = [stored for stored in list_alerts(connection, user) if selector.accepts(stored)]
    if selector.symbol is None:
        return found
    return [stored for stored in found if selector.symbol in read_symbols(connection, stored.id)]


def require_selected(connection: Connection, user: str, selector: AlertSelector) -> list[StoredAlert]:
    """The same. Raises BadInputError if it chooses none."""
    found = select_alerts(connection, user, selector)
    if not found:
        raise BadInputError(f"user {user!r} has no alert of {selector.describe()}")
    return found
