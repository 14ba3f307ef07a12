"""Routes that pause, mute and try alerts, and check what is to become one."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from streamworkers.alerts.checked import describe_checked
from streamworkers.alerts.duration import parse_duration
from streamworkers.alerts.given import parse_given_alert, read_vocabulary
from streamworkers.alerts.store import changes
from streamworkers.alerts.store.alerts import StoredAlert, find_alert
from streamworkers.alerts.store.mutes import mute_alert, snooze_alert, unmute_alert
from streamworkers.alerts.store.symbols import read_symbols
from streamworkers.alerts.transfer import import_alerts, parse_alerts
from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.conditions import tag_answer
from streamworkers.api.operation import Nothing, Operation
from streamworkers.api.problem import InvalidInput
from streamworkers.api.routes.alert_types import (
    AlertView,
    CheckBody,
    CheckedView,
    ImportBody,
    ImportOutcomes,
    MuteBody,
    MutedAlert,
    NowView,
    OwnerQuery,
    SnoozeBody,
    TrialQuery,
    UnmuteBody,
    UnmutedAlert,
    show_alert,
)
from streamworkers.api.routes.alerts import find_called_alert
from streamworkers.api.routes.types import StartedRun
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.diagnosis.written_alert import describe_change
from streamworkers.engine.enqueue import submit_described
from streamworkers.market.bars.as_of import parse_as_of

_MOST_LOOKS = 10
_MOST_DECISIONS, _OF_A_SYMBOL = 2_000, 200


def _pause_own_alert(call: ApiCall) -> ApiAnswer:
    """Pause one of your alerts: bars of the pause are never decided."""
    found, actor = find_called_alert(call)
    changes.pause_alert(call.connection, actor, found.name)
    return _show_again(call, found)


def _resume_own_alert(call: ApiCall) -> ApiAnswer:
    """Resume one of your alerts: bars that close from now on are decided, from a fresh state."""
    found, actor = find_called_alert(call)
    changes.resume_alert(call.connection, actor, found.name)
    return _show_again(call, found)


def _mute_own_alert(call: ApiCall) -> ApiAnswer:
    """Mute one of your alerts: it is decided, and its firings are marked as suppressed."""
    found, actor = find_called_alert(call)
    end = _read_end(call.body)
    mute_alert(call.connection, actor, found.name, end, call.body.reason)
    return ApiAnswer({"name": found.name, "symbol": None, "until": end})


def _snooze_own_alert(call: ApiCall) -> ApiAnswer:
    """Suppress the firings of one symbol of one of your alerts until an end, as one who has seen them does."""
    body: SnoozeBody = call.body
    found, actor = find_called_alert(call)
    end, symbol = _read_end(body), body.symbol
    if end is None:
        raise InvalidInput("a snooze needs an end: for or until")
    if symbol is None:
        known = read_symbols(call.connection, found.id)
        if len(known) != 1:
            raise InvalidInput(f"alert {found.name!r} is about {len(known)} symbols: name one")
        symbol = known[0]
    snooze_alert(call.connection, actor, found.name, symbol, end, body.reason)
    return ApiAnswer({"name": found.name, "symbol": symbol, "until": end})


def _unmute_own_alert(call: ApiCall) -> ApiAnswer:
    """End the mute of one of your alerts and the snoozes of its symbols, or the snooze of one symbol."""
    found, actor = find_called_alert(call)
    was_muted = unmute_alert(call.connection, actor, found.name, call.body.symbol)
    return ApiAnswer({"name": found.name, "was_muted": was_muted})


def _validate_alert(call: ApiCall) -> ApiAnswer:
    """Check a rule or an alert: its canonical form, what it reads, and what may not be meant. Nothing is changed."""
    return ApiAnswer(describe_checked(parse_given_alert(call.body.alert, read_vocabulary(call.connection))))


def _import_own_alerts(call: ApiCall) -> ApiAnswer:
    """Add the alerts whose names are new, and edit those whose documents differ; all or none."""
    body: ImportBody = call.body
    actor = call.caller.acting_for(call.query.user)
    found = parse_alerts(msgspec.json.encode(body.alerts).decode(), read_vocabulary(call.connection))
    outcomes = import_alerts(call.connection, actor, found, dry_run=body.dry_run)
    shown = [{"name": each.name, "outcome": each.outcome} for each in outcomes]
    return ApiAnswer({"alerts": shown, "dry_run": body.dry_run})


def _look_at_alert(call: ApiCall) -> ApiAnswer:
    """Show what the rule of an alert is now at its first ten symbols, when the next bar closes, and what is missing."""
    found, _ = find_called_alert(call)
    return ApiAnswer(describe_change(call.connection, found, call.service.settings.calendar, _MOST_LOOKS))


def _test_alert(call: ApiCall) -> ApiAnswer:
    """Try one of your alerts on stored bars, in the pool: the result of each symbol says when it would have fired."""
    query: TrialQuery = call.query
    found, _ = find_called_alert(call)
    symbols = read_symbols(call.connection, found.id) if query.symbol is None else [query.symbol]
    if not symbols:
        raise InvalidInput(f"alert {found.name!r} is about no symbol now: name one")
    parameters: dict[str, Any] = {
        "document": found.document,
        "rule_from": found.rule_from.isoformat(),
        "decisions": max(1, min(_OF_A_SYMBOL, _MOST_DECISIONS // len(symbols))),
    }
    if query.since is not None:
        parameters["since"] = query.since.isoformat()
    request: dict[str, Any] = {
        "job": "alert_test",
        "symbols": symbols,
        "timeframe": found.timeframe,
        "parameters": parameters,
    }
    if query.at is not None:
        calendar = call.service.settings.calendar
        request["as_of"] = parse_as_of(call.connection, calendar, symbols, query.at).isoformat()
    (run,) = submit_described(call.connection, [{**request, "user": call.caller.user}])
    change = AuditChange("alert.test", "alert", found.name, after={"run": run.id})
    record_change(call.connection, call.caller.actor, change)
    return ApiAnswer(run._asdict(), 202, {"Location": f"/api/v1/runs/{run.id}"})


def _show_again(call: ApiCall, found: StoredAlert) -> ApiAnswer:
    again = find_alert(call.connection, found.user, found.name)
    return tag_answer(call, ApiAnswer(show_alert(again)), again.version)


def _read_end(body: MuteBody) -> datetime | None:
    if body.duration is not None and body.until is not None:
        raise InvalidInput("name either for or until, not both")
    return body.until if body.duration is None else datetime.now(UTC) + parse_duration(body.duration)


def _change(
    verb: str, summary: str, handler: Any, answer: Any, body: Any = Nothing, example: dict[str, Any] | None = None
) -> Operation:
    return Operation(
        *("POST", f"/alerts/{{alert}}/{verb}", summary, handler, answer),
        scope="alerts",
        query=OwnerQuery,
        body=body,
        action=f"alert.{verb}",
        object_type="alert",
        problems=(400, 404, 409),
        example=example,
    )


_RULE = {"indicator": "price", "operator": ">", "value": 150}
_SNOOZE = {"symbol": "AAPL", "for": "2h", "reason": "seen"}
ALERT_ACTION_OPERATIONS = (
    Operation(
        *("POST", "/alerts/validate", "Check an alert", _validate_alert, CheckedView),
        body=CheckBody,
        only_reads=True,
        object_type="alert",
        problems=(400, 409),
        example={"alert": "AAPL > 150 1h cooldown 5m"},
    ),
    Operation(
        *("POST", "/alerts/import", "Add or edit alerts", _import_own_alerts, ImportOutcomes),
        scope="alerts",
        query=OwnerQuery,
        body=ImportBody,
        action="alert.import",
        object_type="alert",
        problems=(400, 409),
        example={"alerts": [{"name": "high", "ticker": "AAPL", "timeframe": "day", "rule": _RULE}], "dry_run": True},
    ),
    Operation(
        *("GET", "/alerts/{alert}/now", "Show what an alert is now", _look_at_alert, NowView),
        query=OwnerQuery,
        object_type="alert",
        problems=(404,),
    ),
    _change("pause", "Pause an alert", _pause_own_alert, AlertView),
    _change("resume", "Resume an alert", _resume_own_alert, AlertView),
    _change("mute", "Mute an alert", _mute_own_alert, MutedAlert, MuteBody, {"for": "1d", "reason": "holidays"}),
    _change("snooze", "Snooze a symbol of an alert", _snooze_own_alert, MutedAlert, SnoozeBody, _SNOOZE),
    _change("unmute", "End mutes and snoozes", _unmute_own_alert, UnmutedAlert, UnmuteBody, {"symbol": "AAPL"}),
    Operation(
        *("POST", "/alerts/{alert}/test", "Try an alert on stored bars", _test_alert, StartedRun),
        scope="alerts",
        query=TrialQuery,
        status=202,
        action="alert.test",
        object_type="alert",
        problems=(400, 404, 409),
    ),
)
