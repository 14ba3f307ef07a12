"""Alerts in the bodies of requests and answers."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any

import msgspec

from streamworkers.alerts.store.alerts import StoredAlert

Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class AlertBody(msgspec.Struct, forbid_unknown_fields=True):
    """An alert as a text (`AAPL > 150 1h`) or a document (docs/guides/alerts.md), and what counts instead of it."""

    alert: str | dict[str, Any]
    name: str | None = None
    symbols: list[str] | None = None
    universe: str | None = None
    timeframe: str | None = None


class CheckBody(msgspec.Struct, forbid_unknown_fields=True):
    """An alert or a rule, as a text or a document."""

    alert: str | dict[str, Any]


class ImportBody(msgspec.Struct, forbid_unknown_fields=True):
    """Documents of alerts, each with a name; with `dry_run`, what would be added and changed, and nothing is."""

    alerts: list[dict[str, Any]]
    dry_run: bool = False


class MuteBody(msgspec.Struct, forbid_unknown_fields=True):
    """Until when: a time such as `2h` from now on, or a moment. Without either, until it is unmuted."""

    duration: str | None = msgspec.field(name="for", default=None)
    until: Moment | None = None
    reason: str | None = None


class SnoozeBody(MuteBody, forbid_unknown_fields=True):
    """The symbol, which may be left out of an alert about one, and until when, which may not."""

    symbol: str | None = None


class UnmuteBody(msgspec.Struct, forbid_unknown_fields=True):
    """The symbol whose snooze ends; without one, all mutes and snoozes of the alert do."""

    symbol: str | None = None


class OwnerQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Whose: the token's user, unless an admin names another."""

    user: str | None = None


class AlertsQuery(OwnerQuery, forbid_unknown_fields=True):
    """Which alerts; every parameter that is given must match. A name may have `*` and `?`."""

    name: str | None = None
    symbol: str | None = None
    universe: str | None = None
    timeframe: str | None = None
    group: str | None = None


class FiringsQuery(OwnerQuery, forbid_unknown_fields=True):
    """Which firings, and how many at most."""

    symbol: str | None = None
    since: Moment | None = None
    limit: Limit = 100


class TrialQuery(OwnerQuery, forbid_unknown_fields=True):
    """Of which symbol, from which bar on, and as of when: a date, of which it is the end, or a moment."""

    symbol: str | None = None
    since: Moment | None = None
    at: str | None = None


class AlertView(msgspec.Struct):
    """An alert in its newest version; `document` has its rule, as `alerts export` writes it."""

    id: int
    name: str
    user: str
    timeframe: str
    universe: str | None
    version: int
    paused_at: datetime | None
    created_at: datetime
    document: dict[str, Any]


class WrittenAlert(AlertView):
    """An alert that was just written, with what may not be meant, and a message as it may come."""

    warnings: list[str]
    message: str


class AlertList(msgspec.Struct):
    """Alerts of a user, by name."""

    alerts: list[AlertView]


class ImportOutcome(msgspec.Struct):
    """What an import did with an alert: `added`, `changed`, or `unchanged`."""

    name: str
    outcome: str


class ImportOutcomes(msgspec.Struct):
    """What an import did with each alert, in the order of the request."""

    alerts: list[ImportOutcome]
    dry_run: bool


class LookView(msgspec.Struct):
    """What a rule is at the newest closed bar of a symbol, null if none is stored, and when the next bar closes."""

    symbol: str
    rule: str | None
    bar: datetime | None
    next_close: datetime | None


class NowView(msgspec.Struct):
    """What an alert is now, for its first symbols, and in `warnings` what is missing or may not be meant."""

    id: int
    name: str
    version: int
    symbols: int
    alert: dict[str, Any]
    now: list[LookView]
    waits: bool
    message: str
    warnings: list[str]


class VersionView(msgspec.Struct):
    """A version: it is in force for bars that close after `effective_from`; another `epoch` begins a fresh state."""

    version: int
    epoch: int
    effective_from: datetime
    is_active: bool
    document: dict[str, Any]


class VersionList(msgspec.Struct):
    """The versions of an alert, the oldest first."""

    versions: list[VersionView]


class SymbolStanding(msgspec.Struct):
    """Where an alert stands for a symbol."""

    symbol: str
    status: str
    fire_count: int
    fired_at: datetime | None
    cooldown_until: datetime | None
    evaluated_through: datetime | None
    complete_through: datetime | None
    blind_since: datetime | None
    blind: bool
    delisted_after: date | None


class StandingView(msgspec.Struct):
    """Where an alert stands, what mutes it, and in `silent` every reason for which it is silent."""

    id: int
    name: str
    about: str
    timeframe: str
    rule: str
    group: str | None
    version: int
    states: dict[str, int]
    fires: int
    last_fired: datetime | None
    paused_at: datetime | None
    expired: bool
    muted: list[dict[str, Any]]
    ended: list[str]
    blind: list[str]
    blind_since: datetime | None
    silent: list[str]
    symbols: list[SymbolStanding]


class FiringList(msgspec.Struct):
    """Firings and releases, the newest first, and what corrected bars would have changed."""

    firings: list[dict[str, Any]]
    corrections: list[dict[str, Any]]


class MutedAlert(msgspec.Struct):
    """What was muted or snoozed, and until when; null is until it is unmuted."""

    name: str
    symbol: str | None
    until: datetime | None


class UnmutedAlert(msgspec.Struct):
    """Whether anything was muted before."""

    name: str
    was_muted: bool


class CheckedView(msgspec.Struct, omit_defaults=True):
    """Both notations of a rule or an alert, and what it reads; of more than a rule also document, warnings, message."""

    text: str
    rule: dict[str, Any]
    fields: list[dict[str, Any]]
    patterns: list[dict[str, Any]]
    lookback: int
    lookback_days: int
    adjustable: bool
    alert: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    warnings: list[str] | msgspec.UnsetType = msgspec.UNSET
    message: str | msgspec.UnsetType = msgspec.UNSET


def show_alert(alert: StoredAlert) -> dict[str, Any]:
    """Return the fields of an AlertView."""
    names: Sequence[str] = ("id", "name", "user", "timeframe", "universe", "version", "paused_at", "created_at")
    return {**{name: getattr(alert, name) for name in names}, "document": alert.document}
