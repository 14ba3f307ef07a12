"""The document of an alert: checked, typed, and printed back in its canonical form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any, Literal

from streamworkers.alerts.message import require_template
from streamworkers.alerts.rearm import Margin, Rearm, choose_leaf, require_fitting
from streamworkers.alerts.step import AlertLimits
from streamworkers.alerts.versions import ALERT_SCHEMA, CURRENT_VERSION, Document, upgrade_document
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, timeframe_named
from streamworkers.rules.build import build_rule
from streamworkers.rules.canonical import rule_to_json, to_number
from streamworkers.rules.json_input import require_limits
from streamworkers.rules.problem import Path, RuleError, show_value
from streamworkers.rules.schema import require_document
from streamworkers.rules.tree import Condition, is_adjustable
from streamworkers.rules.vocabulary import Vocabulary

CatchUp = Literal["latest", "all", "none"]
_END_OF_DAY = time(23, 59, 59)
FIRST_YEAR, LAST_YEAR = 1970, 9998  # every zone can show a moment of these
_TARGETS = ("ticker", "tickers", "universe")
_BAR_SECONDS = {"1min": 60, "hour": 3_600, "day": 86_400, "week": 7 * 86_400, "month": 28 * 86_400}


@dataclass(frozen=True, slots=True)
class AlertTarget:
    """What an alert is about: symbols, or a universe expression that is expanded later."""

    symbols: tuple[str, ...] = ()
    universe: str | None = None


@dataclass(frozen=True, slots=True)
class AlertNotify:
    """How a firing reaches people; routing reads it, deciding does not."""

    channels: tuple[str, ...] = ()
    message_template: str | None = None
    priority: str = "normal"
    group: str | None = None
    on_release: bool = False


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as its document says it. `timeframe` is None where the one who adds it chooses."""

    rule: Condition
    name: str | None = None
    target: AlertTarget | None = None
    timeframe: str | None = None
    rearm: Rearm = field(default_factory=Rearm)
    limits: AlertLimits = field(default_factory=AlertLimits)
    catch_up: CatchUp = "latest"
    max_age_seconds: float | None = None
    notify_corrections: bool = False
    notify: AlertNotify = field(default_factory=AlertNotify)


def parse_alert(document: object, vocabulary: Vocabulary) -> Alert:
    """The alert of a document in any version or form. Raises RuleError with the path of the first wrong value."""
    require_limits(document)
    if not isinstance(document, Mapping):
        raise RuleError((), f"{show_value(document)} is not an object")
    current = upgrade_document(document)
    require_document(current, *ALERT_SCHEMA)
    return build_alert(current, vocabulary)


def build_alert(document: Document, vocabulary: Vocabulary) -> Alert:
    """The alert of a document that keeps limits and schema of the present version."""
    rule = build_rule(document["rule"], vocabulary, ("rule",))
    rearm = _rearm(document.get("rearm", {}), rule)
    evaluate = document.get("evaluate", {})
    return Alert(
        rule=rule,
        name=document.get("name"),
        target=_target(document),
        timeframe=_timeframe(document.get("timeframe")),
        rearm=rearm,
        limits=AlertLimits(_moment(document.get("expires_at"), ("expires_at",)), document.get("max_fires")),
        catch_up=evaluate.get("catch_up", "latest"),
        max_age_seconds=evaluate.get("max_age_seconds"),
        notify_corrections=document.get("on_correction") == "notify",
        notify=_notify(document.get("notify", {})),
    )


def alert_warnings(alert: Alert) -> list[str]:
    """What is allowed and may not be meant."""
    warnings = []
    seconds = 0 if alert.timeframe is None else _BAR_SECONDS[alert.timeframe]
    if 0 < alert.rearm.cooldown_seconds < seconds:
        warnings.append(
            f"$.rearm.cooldown: {alert.rearm.cooldown_seconds:g} seconds are shorter than a bar of {alert.timeframe},"
            " so it has no effect"
        )
    if not is_adjustable(alert.rule):
        warnings.append(
            "$.rule: a field is measured neither in prices nor in volumes, so the rule cannot be adjusted after a split"
        )
    return warnings


def alert_to_json(alert: Alert) -> dict[str, Any]:
    """The canonical form: everything that is not the default, in a fixed order, in the present version."""
    limits, target = alert.limits, alert.target
    evaluate = {
        "catch_up": None if alert.catch_up == "latest" else alert.catch_up,
        "max_age_seconds": None if alert.max_age_seconds is None else to_number(float(alert.max_age_seconds)),
    }
    return _without_none(
        {
            "schema_version": CURRENT_VERSION,
            "name": alert.name,
            **({} if target is None else _target_to_json(target)),
            "timeframe": alert.timeframe,
            "rule": rule_to_json(alert.rule),
            "rearm": _rearm_to_json(alert.rearm),
            "evaluate": _without_none(evaluate) or None,
            "on_correction": "notify" if alert.notify_corrections else None,
            "expires_at": None if limits.expires_at is None else show_moment(limits.expires_at),
            "max_fires": limits.max_fires,
            "notify": _notify_to_json(alert.notify) or None,
        }
    )


def show_moment(moment: datetime) -> str:
    """A moment in UTC as documents have it."""
    return moment.isoformat().replace("+00:00", "Z")


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _target(document: Document) -> AlertTarget | None:
    given = [name for name in _TARGETS if name in document]
    if len(given) > 1:
        raise RuleError((given[1],), f"an alert has one of {', '.join(_TARGETS)}, and {given[0]} is given too")
    if not given:
        return None
    if "universe" in document:
        return AlertTarget(universe=document["universe"])
    symbols = [document["ticker"]] if "ticker" in document else document["tickers"]
    return AlertTarget(tuple(dict.fromkeys(symbols)))


def _target_to_json(target: AlertTarget) -> dict[str, Any]:
    if target.universe is not None:
        return {"universe": target.universe}
    return {"ticker": target.symbols[0]} if len(target.symbols) == 1 else {"tickers": list(target.symbols)}


def _timeframe(name: str | None) -> str | None:
    try:
        return None if name is None else timeframe_named(name).name
    except BadInputError as error:
        raise RuleError(("timeframe",), str(error)) from None


def _moment(text: str | None, path: Path) -> datetime | None:
    """A moment with a zone; a date is the end of that day on the exchange."""
    if text is None:
        return None
    try:
        if len(text) == len("2027-01-01"):
            moment = datetime.combine(date.fromisoformat(text), _END_OF_DAY, EXCHANGE_ZONE)
        else:
            moment = datetime.fromisoformat(text)
        in_utc = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise RuleError(path, f"{show_value(text)} is not a date YYYY-MM-DD or a time in ISO 8601") from None
    if moment.tzinfo is None:
        raise RuleError(path, f"{text!r} has no time zone; write {text}Z for UTC")
    if not FIRST_YEAR <= in_utc.year <= LAST_YEAR:
        raise RuleError(path, f"{text!r} is not in the years {FIRST_YEAR} to {LAST_YEAR}")
    return in_utc


def _rearm(document: Document, rule: Condition) -> Rearm:
    path: Path = ("rearm",)
    kind = document.get("type", "edge")
    margin = leaf = None
    if kind == "hysteresis":
        if "threshold" not in document:
            raise RuleError(path, "lacks 'threshold', which type hysteresis needs")
        threshold = document["threshold"]
        is_fraction = not isinstance(threshold, Mapping)
        margin = Margin(float(threshold if is_fraction else threshold["abs"]), is_fraction)
        leaf = choose_leaf(rule, document.get("leaf"), path)
    for name in ("threshold", "leaf"):
        if name in document and kind != "hysteresis":
            raise RuleError((*path, name), f"belongs to type hysteresis, not to {kind}")
    rearm = Rearm(
        type=kind,
        margin=margin,
        leaf=leaf,
        cooldown_seconds=float(document.get("cooldown", 0)),
        cooldown_bars=int(document.get("cooldown_bars", 0)),
        persistence_bars=int(document.get("persistence_bars", 1)),
        release_bars=int(document.get("release_bars", 1)),
        gaps=document.get("gaps", "keep"),
        initial=document.get("initial", "fire"),
    )
    require_fitting(rearm, rule, path)
    return rearm


def _rearm_to_json(rearm: Rearm) -> dict[str, Any]:
    margin, plain = rearm.margin, Rearm()
    result: dict[str, Any] = {"type": rearm.type}
    if margin is not None:
        result["threshold"] = margin.size if margin.is_fraction else {"abs": to_number(margin.size)}
    if rearm.leaf is not None and rearm.leaf.id is not None:
        result["leaf"] = rearm.leaf.id
    if rearm.cooldown_seconds:
        result["cooldown"] = to_number(rearm.cooldown_seconds)
    for name in ("cooldown_bars", "persistence_bars", "release_bars", "gaps", "initial"):
        value = getattr(rearm, name)
        if value != getattr(plain, name):
            result[name] = value
    return result


def _notify(document: Document) -> AlertNotify:
    if "message_template" in document:
        require_template(document["message_template"], ("notify", "message_template"))
    return AlertNotify(
        channels=tuple(dict.fromkeys(document.get("channels", ()))),
        message_template=document.get("message_template"),
        priority=document.get("priority", "normal"),
        group=document.get("group"),
        on_release=document.get("on_release", False),
    )


def _notify_to_json(notify: AlertNotify) -> dict[str, Any]:
    return _without_none(
        {
            "channels": list(notify.channels) or None,
            "message_template": notify.message_template,
            "priority": None if notify.priority == "normal" else notify.priority,
            "group": notify.group,
            "on_release": notify.on_release or None,
        }
    )
