"""Versions of alerts, parsed and compiled once for each process: a version never changes."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from streamworkers.alerts.computable import parse_computable
from streamworkers.alerts.decide_bars import CompiledAlert, compile_alert
from streamworkers.alerts.document import Alert
from streamworkers.alerts.store.work import read_documents
from streamworkers.alerts.stored_bars import bars_before
from streamworkers.database import Connection
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.rules.tree import Field, Pattern, needed_fields, needed_patterns

_MOST_VERSIONS = 200_000


@dataclass(slots=True)
class CompiledVersion:
    """A version of an alert, ready to be decided; `before` are the bars before a bar that its rule needs."""

    user: str
    alert: Alert
    fields: tuple[Field, ...]
    patterns: tuple[Pattern, ...]
    before: int | None
    _by_factor: dict[float, CompiledAlert] = field(default_factory=dict)

    def compiled(self, factor: float) -> CompiledAlert:
        """The alert for prices that were multiplied by `factor` since its rule was written."""
        found = self._by_factor.get(factor)
        if found is None:
            found = compile_alert(self.alert.rule, self.alert.rearm, self.alert.limits, factor)
            self._by_factor[factor] = found
        return found


class CompiledVersions:
    """The versions that this process has seen."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], CompiledVersion] = {}

    def load(self, connection: Connection, keys: Iterable[tuple[int, int]], timeframe: Timeframe) -> None:
        """Make versions known, by alert and version."""
        wanted = set(keys)
        if len(self._found) > _MOST_VERSIONS:
            self._found = {key: found for key, found in self._found.items() if key in wanted}
        for key, (user, document) in read_documents(connection, wanted - self._found.keys()).items():
            alert = parse_computable(document)
            self._found[key] = CompiledVersion(
                user, alert, needed_fields(alert.rule), needed_patterns(alert.rule), bars_before(alert.rule, timeframe)
            )

    def __getitem__(self, key: tuple[int, int]) -> CompiledVersion:
        return self._found[key]
