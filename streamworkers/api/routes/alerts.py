"""Routes about alerts: written, listed, looked into and removed."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from streamworkers.actor import Actor
from streamworkers.alerts.default_timeframe import choose_timeframe
from streamworkers.alerts.document import alert_warnings
from streamworkers.alerts.firing_message import preview_alert
from streamworkers.alerts.given import AlertOptions, complete_alert, is_document, parse_given_alert, read_vocabulary
from streamworkers.alerts.selection import AlertSelector, select_alerts
from streamworkers.alerts.standing import read_standings
from streamworkers.alerts.standing_report import describe_standing, describe_symbols
from streamworkers.alerts.store import changes
from streamworkers.alerts.store.alerts import (
    StoredAlert,
    find_alert,
    find_alert_by_id,
    find_alert_owner,
    list_alerts,
    read_versions,
)
from streamworkers.alerts.store.reports import list_corrections, list_firings
from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.conditions import require_version, tag_answer
from streamworkers.api.operation import Operation
from streamworkers.api.problem import Conflict, Hidden, NotFound
from streamworkers.api.reading import LARGEST_INTEGER
from streamworkers.api.routes.alert_types import (
    AlertBody,
    AlertList,
    AlertsQuery,
    AlertView,
    FiringList,
    FiringsQuery,
    OwnerQuery,
    StandingView,
    VersionList,
    WrittenAlert,
    show_alert,
)
from streamworkers.api.routes.schedule_types import Removed
from streamworkers.errors import UnknownNameError
from streamworkers.market.calendar.timeframes import timeframe_named


def find_called_alert(call: ApiCall, *, lock: bool = False) -> tuple[StoredAlert, Actor]:
    """Return the alert that the path names by name or number, and the actor who changes it. Raises NotFound."""
    text, actor = call.path["alert"], call.caller.acting_for(call.query.user)
    if list_alerts(call.connection, actor.user, [text]):
        return _require_alert(call, actor.user, text, lock=lock), actor
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 19 else None
    if number is None or number > LARGEST_INTEGER:
        raise NotFound("alert", text)
    owner = find_alert_owner(call.connection, number)
    if owner is None:
        raise NotFound("alert", text)
    if owner != actor.user and not call.caller.is_admin:
        raise Hidden("alert", text)
    found = find_alert_by_id(call.connection, owner, number)
    if lock:
        found = _require_alert(call, owner, found.name, lock=True)
    return found, call.caller.acting_for(owner)


def _require_alert(call: ApiCall, owner: str, name: str, *, lock: bool) -> StoredAlert:
    try:
        return find_alert(call.connection, owner, name, lock=lock)
    except UnknownNameError:  # removed a moment ago
        raise NotFound("alert", name) from None


def _list_own_alerts(call: ApiCall) -> ApiAnswer:
    """List your alerts, by name, with their documents."""
    query: AlertsQuery = call.query
    frame = None if query.timeframe is None else timeframe_named(query.timeframe).name
    selector = AlertSelector(query.name, query.symbol, query.universe, frame, query.group)
    found = select_alerts(call.connection, call.caller.acting_for(query.user).user, selector)
    return ApiAnswer({"alerts": [show_alert(each) for each in found]})


def _create_alert(call: ApiCall) -> ApiAnswer:
    """Add an alert, which decides the bars that close from now on. Without a timeframe it has the narrowest stored."""
    body: AlertBody = call.body
    actor = call.caller.acting_for(call.query.user)
    wanted = _options(body).change(parse_given_alert(body.alert, read_vocabulary(call.connection)))
    if wanted.name is not None and list_alerts(call.connection, actor.user, [wanted.name]):
        raise Conflict(f"user {actor.user!r} has an alert {wanted.name!r} already")
    timeframe, _ = choose_timeframe(call.connection, wanted)
    stored = changes.add_alert(call.connection, actor, replace(wanted, timeframe=timeframe))
    answer = _answer_written(call, stored)
    answer.status, answer.headers["Location"] = 201, f"/api/v1/alerts/{stored.id}"
    return answer


def _show_alert(call: ApiCall) -> ApiAnswer:
    """Show one of your alerts, by its name or its number; its version is the ETag."""
    found, _ = find_called_alert(call)
    return tag_answer(call, ApiAnswer(show_alert(found)), found.version)


def _replace_alert(call: ApiCall) -> ApiAnswer:
    """Replace an alert of the version that If-Match names. What a text cannot say is that of the alert before."""
    body: AlertBody = call.body
    before, actor = find_called_alert(call, lock=True)
    require_version(call, before.version)
    given = parse_given_alert(body.alert, read_vocabulary(call.connection))
    is_text = isinstance(body.alert, str) and not is_document(body.alert)
    options = replace(_options(body), name=body.name or given.name or before.name)
    wanted = options.change(complete_alert(given, before.alert, is_text=is_text))
    return _answer_written(call, changes.edit_alert(call.connection, actor, before.name, wanted))


def _remove_own_alert(call: ApiCall) -> ApiAnswer:
    """Remove one of your alerts, of the version that If-Match names; its firings are kept."""
    found, actor = find_called_alert(call, lock=True)
    require_version(call, found.version)
    changes.remove_alert(call.connection, actor, found.name)
    return ApiAnswer({"name": found.name, "removed": True})


def _list_alert_versions(call: ApiCall) -> ApiAnswer:
    """List the versions of an alert with their documents, the oldest first."""
    found, _ = find_called_alert(call)
    names = ("version", "epoch", "effective_from", "is_active", "document")
    versions = read_versions(call.connection, [found.id])[found.id]
    return ApiAnswer({"versions": [{name: getattr(each, name) for name in names} for each in versions]})


def _show_alert_standing(call: ApiCall) -> ApiAnswer:
    """Show where an alert stands for each symbol, what mutes it, and why it is silent."""
    found, _ = find_called_alert(call)
    calendar = call.service.settings.calendar
    (standing,) = read_standings(call.connection, [found], datetime.now(UTC), calendar)
    return ApiAnswer({**describe_standing(standing), "symbols": describe_symbols(standing)})


def _list_alert_firings(call: ApiCall) -> ApiAnswer:
    """List what one of your alerts has fired, the newest first, and what corrected bars would have changed."""
    query: FiringsQuery = call.query
    found, _ = find_called_alert(call)
    which: dict[str, Any] = {"alert_id": found.id, "symbol": query.symbol, "since": query.since}
    firings = list_firings(call.connection, found.user, query.limit, **which)
    corrections = list_corrections(call.connection, found.id, query.limit)
    return ApiAnswer({"firings": firings, "corrections": corrections})


def _list_all_firings(call: ApiCall) -> ApiAnswer:
    """List what your alerts have fired, removed ones included, the newest first."""
    query: FiringsQuery = call.query
    user = call.caller.acting_for(query.user).user
    firings = list_firings(call.connection, user, query.limit, symbol=query.symbol, since=query.since)
    return ApiAnswer({"firings": firings, "corrections": []})


def _options(body: AlertBody) -> AlertOptions:
    return AlertOptions(body.name, body.symbols, body.universe, body.timeframe)


def _answer_written(call: ApiCall, stored: StoredAlert) -> ApiAnswer:
    alert = stored.alert
    said = {"warnings": alert_warnings(alert), "message": preview_alert(alert)}
    return tag_answer(call, ApiAnswer({**show_alert(stored), **said}), stored.version)


_BODY = {"alert": "AAPL > 150 day hysteresis 2%", "name": "aapl-150"}
ALERT_OPERATIONS = (
    Operation("GET", "/alerts", "List alerts", _list_own_alerts, AlertList, query=AlertsQuery, object_type="alert"),
    Operation(
        *("POST", "/alerts", "Add an alert", _create_alert, WrittenAlert),
        scope="alerts",
        query=OwnerQuery,
        body=AlertBody,
        status=201,
        action="alert.create",
        object_type="alert",
        problems=(400, 409),
        example=_BODY,
    ),
    Operation(
        *("GET", "/alerts/{alert}", "Show an alert", _show_alert, AlertView),
        is_tagged=True,
        query=OwnerQuery,
        object_type="alert",
        problems=(404,),
    ),
    Operation(
        *("PUT", "/alerts/{alert}", "Replace an alert", _replace_alert, WrittenAlert),
        scope="alerts",
        query=OwnerQuery,
        body=AlertBody,
        action="alert.change",
        object_type="alert",
        problems=(404, 412, 428),
        example=_BODY,
    ),
    Operation(
        *("DELETE", "/alerts/{alert}", "Remove an alert", _remove_own_alert, Removed),
        scope="alerts",
        query=OwnerQuery,
        action="alert.remove",
        object_type="alert",
        problems=(404, 412, 428),
    ),
    Operation(
        *("GET", "/alerts/{alert}/versions", "List the versions of an alert", _list_alert_versions, VersionList),
        query=OwnerQuery,
        object_type="alert",
        problems=(404,),
    ),
    Operation(
        *("GET", "/alerts/{alert}/standing", "Show where an alert stands", _show_alert_standing, StandingView),
        query=OwnerQuery,
        object_type="alert",
        problems=(404,),
    ),
    Operation(
        *("GET", "/alerts/{alert}/firings", "List what an alert has fired", _list_alert_firings, FiringList),
        query=FiringsQuery,
        object_type="alert",
        problems=(404,),
    ),
    Operation(
        *("GET", "/firings", "List what alerts have fired", _list_all_firings, FiringList),
        query=FiringsQuery,
        object_type="alert",
    ),
)
