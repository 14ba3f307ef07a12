"""Alerts as people and programs give them: a text or a document, and what else is given instead."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.document import Alert, AlertTarget, parse_alert
from streamworkers.database import Connection
from streamworkers.errors import BadInputError
from streamworkers.market.bars.rules import require_symbol
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.results import definitions
from streamworkers.rules.build import parse_rule
from streamworkers.rules.json_input import read_json
from streamworkers.rules.market_vocabulary import MarketVocabulary


@dataclass(frozen=True, slots=True)
class AlertOptions:
    """What is given beside a text or document and counts instead of its own; None leaves that."""

    name: str | None = None
    symbols: Sequence[str] | None = None
    universe: str | None = None
    timeframe: str | None = None

    def change(self, alert: Alert) -> Alert:
        """Return the alert with these instead. Raises BadInputError."""
        if self.symbols is not None and self.universe is not None:
            raise BadInputError("name either symbols or a universe, not both")
        target = alert.target
        if self.symbols is not None:
            target = AlertTarget(tuple(dict.fromkeys(map(require_symbol, self.symbols))))
            if not target.symbols:
                raise BadInputError("the list of symbols names no symbol")
        elif self.universe is not None:
            target = AlertTarget(universe=self.universe)
        return replace(
            alert,
            name=alert.name if self.name is None else self.name,
            target=target,
            timeframe=alert.timeframe if self.timeframe is None else timeframe_named(self.timeframe).name,
        )


def read_vocabulary(connection: Connection) -> MarketVocabulary:
    """The vocabulary with the names of the database's definitions."""
    indicators = definitions.list_indicator_definitions(connection)
    patterns = definitions.list_pattern_definitions(connection)
    return MarketVocabulary(definitions.parse_indicators(indicators), definitions.parse_patterns(patterns))


def parse_given_alert(given: str | dict[str, Any], vocabulary: MarketVocabulary) -> Alert:
    """The alert of a text, of a text that is a document, or of a document; a bare rule has nothing else."""
    if isinstance(given, str) and not is_document(given):
        return parse_alert_text(given, vocabulary)
    document = read_json(given) if isinstance(given, str) else given
    if isinstance(document, dict) and {"rule", "schema_version", "condition"} & document.keys():
        return parse_alert(document, vocabulary)
    return Alert(parse_rule(document, vocabulary))


def is_document(text: str) -> bool:
    """True for a text that is JSON."""
    return text.lstrip()[:1] in ("{", "[")


def complete_alert(given: Alert, before: Alert, *, is_text: bool) -> Alert:
    """The alert with the target and timeframe of the one before, if it has none, and with what a text cannot say."""
    filled = replace(given, target=given.target or before.target, timeframe=given.timeframe or before.timeframe)
    if not is_text:
        return filled
    limits = replace(before.limits, expires_at=given.limits.expires_at)
    return replace(
        filled,
        limits=limits,
        catch_up=before.catch_up,
        max_age_seconds=before.max_age_seconds,
        notify_corrections=before.notify_corrections,
        notify=before.notify,
    )
