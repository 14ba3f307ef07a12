"""Chooses alerts of a user: by name, symbol, universe, timeframe and group."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from streamworkers.alerts.store.alerts import StoredAlert, list_alerts
from streamworkers.alerts.store.symbols import read_symbols, read_symbols_of_user
from streamworkers.database import Connection
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.users import require_user

_PATTERN = frozenset("*?[")


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
            and self.group in (None, _group_of(stored))
        )


def select_alerts(connection: Connection, user: str, selector: AlertSelector) -> list[StoredAlert]:
    """The alerts of a user that a selector chooses, by name."""
    found = [stored for stored in list_alerts(connection, user) if selector.accepts(stored)]
    if selector.symbol is None:
        return found
    return [stored for stored in found if selector.symbol in read_symbols(connection, stored.id)]


def find_selected(connection: Connection, user: str, selector: AlertSelector) -> list[StoredAlert]:
    """The same. Raises UnknownNameError for a user who is not there, and for what no alert of the user has.

    A name with `*` or `?` may fit none.
    """
    require_user(connection, user)
    found = select_alerts(connection, user, selector)
    if not found:
        _require_known(connection, user, selector)
    return found


def require_selected(connection: Connection, user: str, selector: AlertSelector) -> list[StoredAlert]:
    """The same. Raises BadInputError if it chooses none."""
    found = find_selected(connection, user, selector)
    if not found:
        raise BadInputError(f"user {user!r} has no alert of {selector.describe()}")
    return found


def _require_known(connection: Connection, user: str, selector: AlertSelector) -> None:
    alerts = list_alerts(connection, user)
    named = selector.name if selector.name is None or not _PATTERN.intersection(selector.name) else None
    wanted: list[tuple[str, str | None, Iterable[str | None]]] = [
        ("alert", named, (each.name for each in alerts)),
        ("universe of an alert", selector.universe, (each.universe for each in alerts)),
        ("group of alerts", selector.group, map(_group_of, alerts)),
    ]
    if selector.symbol is not None:
        wanted.append(("symbol of an alert", selector.symbol, read_symbols_of_user(connection, user, now_only=True)))
    for kind, name, known in wanted:
        names = set(filter(None, known))
        if name is not None and name not in names:
            raise UnknownNameError(kind, name, names)


def _group_of(stored: StoredAlert) -> str | None:
    group: str | None = stored.document.get("notify", {}).get("group")
    return group
