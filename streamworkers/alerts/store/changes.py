"""Changes alerts: each function is one transaction, names who did it, and adds a version.

A version is in force for the bars that close after it. Another rule, timeframe or rearm policy, and the end of a pause,
begin a new epoch, in which the state starts again; a name, a message, an end or a limit does not.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from streamworkers.actor import Actor
from streamworkers.alerts.document import Alert, alert_to_json
from streamworkers.alerts.store.alerts import StoredAlert, find_alert
from streamworkers.alerts.store.symbols import close_symbols, expand_target
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.config import load_settings
from streamworkers.database import Connection, fetch_value
from streamworkers.errors import BadInputError
from streamworkers.names import require_name
from streamworkers.users import lock_user

_NEW_EPOCH = ("rule", "rearm", "timeframe")
_NEW_VERSION = """
INSERT INTO alert_versions (alert_id, version, epoch, effective_from, rule_from, is_active, document, changed_by)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"""


def add_alert(connection: Connection, actor: Actor, alert: Alert, *, at: datetime | None = None) -> StoredAlert:
    """Add an alert, which decides the bars that close after `at` (aware; now). Without a name it is named by its id.

    Raises BadInputError for a name that is taken, an alert without symbols or timeframe, and one over the limit of the
    user; UnknownNameError for an unknown user or universe.
    """
    with connection.transaction():
        moment = at or _now(connection)
        _require_room(connection, actor)
        number = fetch_value(connection, "SELECT nextval(pg_get_serial_sequence('alerts', 'id'))")
        named = replace(alert, name=f"alert-{number}" if alert.name is None else alert.name)
        assert named.name is not None
        timeframe = _require_complete(named)
        _require_free(connection, actor, named.name)
        _require_names(named, {})
        target = named.target
        assert target is not None
        connection.execute(
            "INSERT INTO alerts (id, user_id, name, timeframe, universe, expires_at, created_at, created_by)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (number, actor.user, named.name, timeframe, target.universe, named.limits.expires_at, moment, str(actor)),
        )
        document = Jsonb(alert_to_json(named))
        connection.execute(_NEW_VERSION, (number, 1, 1, moment, moment, True, document, str(actor)))
        expand_target(connection, number, timeframe, target, moment)
        _record(connection, actor, "alert.create", named.name, after=alert_to_json(named))
        return find_alert(connection, actor.user, named.name)


def edit_alert(
    connection: Connection, actor: Actor, name: str, alert: Alert, *, at: datetime | None = None
) -> StoredAlert:
    """Replace the document of an alert; without a name it keeps its own. A paused alert stays paused.

    Raises what `add_alert` raises, and UnknownNameError for an unknown alert.
    """
    with connection.transaction():
        stored = find_alert(connection, actor.user, name, lock=True)
        moment = at or _now(connection, stored)
        named = replace(alert, name=name if alert.name is None else alert.name)
        assert named.name is not None
        timeframe = _require_complete(named)
        if named.name != name:
            _require_free(connection, actor, named.name)
        _require_names(named, stored.document)
        document, target = alert_to_json(named), named.target
        assert target is not None
        if document != stored.document:
            changed = _differs(document, stored.document, _NEW_EPOCH)
            _add_version(connection, actor, stored, moment, document=document, new_epoch=changed)
            connection.execute(
                "UPDATE alerts SET name = %s, timeframe = %s, universe = %s, expires_at = %s WHERE id = %s",
                (named.name, timeframe, target.universe, named.limits.expires_at, stored.id),
            )
            if timeframe != stored.timeframe:
                close_symbols(connection, stored.id, moment)
            expand_target(connection, stored.id, timeframe, target, moment)
            _record(connection, actor, "alert.change", name, stored.document, document)
        return find_alert(connection, actor.user, named.name)


def remove_alert(connection: Connection, actor: Actor, name: str, *, at: datetime | None = None) -> None:
    """Remove an alert; its versions and firings are kept. Raises UnknownNameError."""
    with connection.transaction():
        stored = find_alert(connection, actor.user, name, lock=True)
        moment = at or _now(connection, stored)
        _add_version(connection, actor, stored, moment, is_active=False)
        close_symbols(connection, stored.id, moment)
        connection.execute("DELETE FROM alert_state WHERE alert_id = %s", (stored.id,))
        connection.execute(
            "UPDATE alerts SET removed_at = %s, removed_by = %s WHERE id = %s", (moment, str(actor), stored.id)
        )
        _record(connection, actor, "alert.remove", name, stored.document)


def pause_alert(connection: Connection, actor: Actor, name: str, *, at: datetime | None = None) -> None:
    """Stop deciding: bars of the pause are never decided. Pausing a paused alert changes nothing."""
    with connection.transaction():
        stored = find_alert(connection, actor.user, name, lock=True)
        if stored.paused_at is None:
            moment = at or _now(connection, stored)
            _add_version(connection, actor, stored, moment, is_active=False)
            connection.execute(
                "UPDATE alerts SET paused_at = %s, paused_by = %s WHERE id = %s", (moment, str(actor), stored.id)
            )
        _record(connection, actor, "alert.pause", name)


def resume_alert(connection: Connection, actor: Actor, name: str, *, at: datetime | None = None) -> None:
    """Decide the bars that close from now on, from a fresh state."""
    with connection.transaction():
        stored = find_alert(connection, actor.user, name, lock=True)
        if stored.paused_at is not None:
            _add_version(connection, actor, stored, at or _now(connection, stored), new_epoch=True, is_active=True)
            connection.execute("UPDATE alerts SET paused_at = NULL, paused_by = NULL WHERE id = %s", (stored.id,))
        _record(connection, actor, "alert.resume", name)


def _record(
    connection: Connection,
    actor: Actor,
    action: str,
    name: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    record_change(connection, actor, AuditChange(action, "alert", name, before, after))


def _add_version(
    connection: Connection,
    actor: Actor,
    stored: StoredAlert,
    moment: datetime,
    *,
    document: dict[str, Any] | None = None,
    new_epoch: bool = False,
    is_active: bool | None = None,
) -> None:
    if moment < stored.effective_from:
        raise BadInputError(
            f"a change of alert {stored.name!r} at {moment.isoformat()} is before its newest version, which is of"
            f" {stored.effective_from.isoformat()}"
        )
    # Who writes a rule again writes it in today's prices; the end of a pause does not write it.
    is_new_rule = document is not None and _differs(document, stored.document, ("rule", "rearm"))
    values = (
        stored.id,
        stored.version + 1,
        stored.epoch + new_epoch,
        moment,
        moment if is_new_rule else stored.rule_from,
        stored.paused_at is None if is_active is None else is_active,
        Jsonb(stored.document if document is None else document),
        str(actor),
    )
    connection.execute(_NEW_VERSION, values)
    connection.execute("UPDATE alerts SET version = %s WHERE id = %s", (stored.version + 1, stored.id))


def _differs(one: dict[str, Any], other: dict[str, Any], names: tuple[str, ...]) -> bool:
    return any(one.get(name) != other.get(name) for name in names)


def _require_room(connection: Connection, actor: Actor) -> None:
    """Lock the user, so that names and numbers of alerts are checked one after the other."""
    lock_user(connection, actor)
    most = load_settings().alerts_per_user
    count = fetch_value(
        connection, "SELECT count(*) FROM alerts WHERE user_id = %s AND removed_at IS NULL", (actor.user,)
    )
    if count >= most:
        raise BadInputError(
            f"user {actor.user!r} has {count} alerts, and STREAMWORKERS_ALERTS_PER_USER is {most}: remove some first"
        )


def _require_complete(alert: Alert) -> str:
    if alert.target is None:
        raise BadInputError("an alert needs a symbol: ticker, tickers or universe")
    if alert.timeframe is None:
        raise BadInputError("an alert needs a timeframe, such as 1min, hour or day")
    return alert.timeframe


def _require_names(alert: Alert, before: dict[str, Any]) -> None:
    """Raise BadInputError for the name of a group or channel that breaks its rule; what the alert has already stays."""
    kept = before.get("notify", {})
    if alert.notify.group not in (None, kept.get("group")):
        require_name("group", alert.notify.group)
    for channel in alert.notify.channels:
        if channel not in kept.get("channels", ()):
            require_name("channel", channel)


def _require_free(connection: Connection, actor: Actor, name: str) -> None:
    require_name("alert", name)
    taken = "SELECT 1 FROM alerts WHERE user_id = %s AND name = %s AND removed_at IS NULL"
    if fetch_value(connection, taken, (actor.user, name)) is not None:
        raise BadInputError(f"user {actor.user!r} has an alert {name!r} already: choose another name, or edit it")


def _now(connection: Connection, stored: StoredAlert | None = None) -> datetime:
    """The moment of a change; one after a clock went back is at the version before, so that it can be made at all."""
    moment: datetime = fetch_value(connection, "SELECT clock_timestamp()")
    return moment if stored is None else max(moment, stored.effective_from)
