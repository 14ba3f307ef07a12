"""Routes for administrators: users, the audit log and its seals, and the settings of this process."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from pydantic import SecretStr

from streamworkers.actor import Actor
from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.api.problem import NotFound
from streamworkers.api.reading import read_cursor
from streamworkers.api.routes.run_lists import answer_page
from streamworkers.audit.listing import AuditFilter, list_audit
from streamworkers.audit.seals import verify_newest
from streamworkers.config import Settings
from streamworkers.database import Connection, fetch_value
from streamworkers.errors import UnknownNameError
from streamworkers.notifications.store.accounts import disable_user, enable_user, list_users, register_user

Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class UserBody(msgspec.Struct, forbid_unknown_fields=True):
    """The name of a new user."""

    user: str


class AuditQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which rows; every parameter that is given must match."""

    user: str | None = None
    action: str | None = None
    outcome: Literal["ok", "rejected", "failed"] | None = None
    object_type: str | None = None
    object_id: str | None = None
    since: Moment | None = None
    limit: Limit = 100
    cursor: str | None = None


class VerifyQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How many of the newest seals are computed again."""

    seals: Limit = 100


class UserView(msgspec.Struct):
    """A user, with the numbers of endpoints that are on and of alerts; nothing goes to one who is disabled."""

    user: str
    created_at: datetime
    disabled_at: datetime | None
    endpoints: int
    alerts: int


class UserList(msgspec.Struct):
    """All users by name, disabled ones too."""

    users: list[UserView]


class UserOutcome(msgspec.Struct):
    """What was done with a user, or that it was so already."""

    user: str
    outcome: str


class AuditView(msgspec.Struct):
    """A change: who did what to which thing by which way, its fields before and after, and why it was rejected."""

    id: int
    at: datetime
    actor_kind: str
    actor_user: str
    actor_token: str | None
    address: str | None
    request_id: str | None
    action: str
    object_type: str
    object_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    outcome: str
    reason: str | None


class AuditPage(msgspec.Struct):
    """A page of changes as of a moment, the newest first; `next` is the cursor of the next page, null at the end."""

    items: list[AuditView]
    next: str | None
    as_of: datetime


class VerdictView(msgspec.Struct):
    """What comparing rows with seals has found; `troubles` is empty if all is as it was sealed."""

    seals: int
    rows: int
    newest: str | None
    troubles: list[str]


class SettingView(msgspec.Struct):
    """A setting, its value in this process, and the variable that sets it; of a secret, only whether it is set."""

    name: str
    variable: str
    value: Any
    is_secret: bool


class SettingList(msgspec.Struct):
    """The settings of the process that answers, by name."""

    settings: list[SettingView]


def _list_all_users(call: ApiCall) -> ApiAnswer:
    """List the users, each with the numbers of endpoints that are on and of alerts."""
    return ApiAnswer({"users": list_users(call.connection)})


def _add_new_user(call: ApiCall) -> ApiAnswer:
    """Add a user. Adding one who is there changes nothing."""
    user = call.body.user
    outcome = "added" if register_user(call.connection, user, call.caller.actor) else "there already"
    return ApiAnswer({"user": user, "outcome": outcome}, 201)


def _disable_one_user(call: ApiCall) -> ApiAnswer:
    """Send nothing to a user any more, by any channel; what they own stays. Tokens are revoked apart from it."""
    return _switch_user(call, disable_user, "disabled")


def _enable_one_user(call: ApiCall) -> ApiAnswer:
    """Send to a user again, from now on."""
    return _switch_user(call, enable_user, "enabled")


def _switch_user(call: ApiCall, change: Callable[[Connection, str, Actor], bool], word: str) -> ApiAnswer:
    user = call.path["user"]
    try:
        changed = change(call.connection, user, call.caller.actor)
    except UnknownNameError:
        raise NotFound("user", user) from None
    return ApiAnswer({"user": user, "outcome": word if changed else f"{word} already"})


def _list_audit_rows(call: ApiCall) -> ApiAnswer:
    """List changes, the newest first, rejected and failed ones too."""
    query: AuditQuery = call.query
    filters = {name: value for name, value in msgspec.to_builtins(query).items() if name not in ("limit", "cursor")}
    which = (query.user, query.action, query.outcome, query.object_type, query.object_id, query.since)
    as_of = fetch_value(call.connection, "SELECT statement_timestamp()")
    (before,) = read_cursor(query.cursor, filters) or (None,)
    rows = list_audit(call.connection, AuditFilter(*which, before_id=before), query.limit + 1)
    following = (rows[query.limit - 1]["id"],) if len(rows) > query.limit else None
    return answer_page(rows[: query.limit], following, query.limit, filters, as_of)


def _verify_audit(call: ApiCall) -> ApiAnswer:
    """Compute the newest seals of the audit log again. `audit verify` computes all of them."""
    return ApiAnswer(asdict(verify_newest(call.connection, call.query.seals)))


def _list_settings(call: ApiCall) -> ApiAnswer:
    """List the settings of the process that answers; of secrets, only whether they are set."""
    settings = call.service.settings
    return ApiAnswer({"settings": [_show_setting(settings, name) for name in sorted(Settings.model_fields)]})


def _show_setting(settings: Settings, name: str) -> dict[str, Any]:
    value, is_secret = getattr(settings, name), "SecretStr" in str(Settings.model_fields[name].annotation)
    if is_secret or isinstance(value, SecretStr):
        value, is_secret = "set" if value is not None else None, True
    plain = value if isinstance(value, bool | int | float | str | None) else str(value)
    return {"name": name, "variable": f"STREAMWORKERS_{name.upper()}", "value": plain, "is_secret": is_secret}


def _change_user(verb: str, summary: str, handler: Callable[[ApiCall], ApiAnswer]) -> Operation:
    return Operation(
        *("POST", f"/users/{{user}}/{verb}", summary, handler, UserOutcome),
        scope="admin",
        action=f"user.{verb}",
        object_type="user",
        problems=(400, 404, 409),
    )


ADMIN_OPERATIONS = (
    Operation("GET", "/users", "List users", _list_all_users, UserList, scope="admin", object_type="user"),
    Operation(
        *("POST", "/users", "Add a user", _add_new_user, UserOutcome),
        scope="admin",
        body=UserBody,
        status=201,
        action="user.add",
        object_type="user",
        problems=(400, 409),
        example={"user": "ann"},
    ),
    _change_user("disable", "Send nothing to a user", _disable_one_user),
    _change_user("enable", "Send to a user again", _enable_one_user),
    Operation(
        *("GET", "/audit", "List changes", _list_audit_rows, AuditPage),
        scope="admin",
        query=AuditQuery,
        object_type="audit",
    ),
    Operation(
        *("GET", "/audit/verify", "Compute the newest seals again", _verify_audit, VerdictView),
        scope="admin",
        query=VerifyQuery,
        object_type="audit",
    ),
    Operation("GET", "/config", "List settings", _list_settings, SettingList, scope="admin", object_type="setting"),
)
