"""Routes about endpoints: where users can be reached with notifications."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from streamworkers.actor import Actor
from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Nothing, Operation
from streamworkers.api.problem import Conflict, NotFound, WrongTry
from streamworkers.api.routes.alert_types import OwnerQuery
from streamworkers.api.routes.schedule_types import Removed
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.notifications.channels.references import is_reference
from streamworkers.notifications.described_endpoints import describe_endpoint, send_test
from streamworkers.notifications.store.codes import issue_code, verify_endpoint
from streamworkers.notifications.store.endpoints import (
    Endpoint,
    add_endpoint,
    find_endpoint,
    list_endpoints,
    remove_endpoint,
    switch_endpoint_off,
    switch_endpoint_on,
)
from streamworkers.users import require_user


class EndpointBody(msgspec.Struct, forbid_unknown_fields=True):
    """An address on a channel (`telegram`, `mail`, `webhook`, `slack`, `discord`), with the channel's settings."""

    channel: str
    address: str
    name: str | None = None
    settings: dict[str, Any] | None = None


class OffBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why, for those who wonder."""

    reason: str | None = None


class CodeBody(msgspec.Struct, forbid_unknown_fields=True):
    """The code that came to the endpoint."""

    code: str


class EndpointView(msgspec.Struct):
    """Where a user can be reached; of the address, what is no secret."""

    name: str
    channel: str
    address: str
    state: str
    verified_at: datetime | None
    off_at: datetime | None
    off_reason: str | None
    created_at: datetime
    created_by: str


class EndpointList(msgspec.Struct):
    """The endpoints of a user, by name."""

    endpoints: list[EndpointView]


class EndpointOutcome(msgspec.Struct):
    """What was done with an endpoint."""

    name: str
    outcome: str


def _list_own_endpoints(call: ApiCall) -> ApiAnswer:
    """List your endpoints; addresses without their secrets."""
    user = call.caller.acting_for(call.query.user).user
    require_user(call.connection, user)
    rows = [describe_endpoint(each, call.service.channels) for each in list_endpoints(call.connection, user)]
    return ApiAnswer({"endpoints": rows})


def _add_own_endpoint(call: ApiCall) -> ApiAnswer:
    """Add an endpoint. One that an admin adds is verified; any other, by the code that is sent there."""
    body: EndpointBody = call.body
    actor, channels = call.caller.acting_for(call.query.user), call.service.channels
    if body.channel not in channels:
        raise UnknownNameError("channel", body.channel, channels)
    if any(map(_is_reference, (body.address, *(body.settings or {}).values()))):
        call.caller.require("admin")  # a user may not choose which secret of the pool is used
    address = channels[body.channel].check_address(body.address, body.settings or {})
    try:
        added = add_endpoint(call.connection, actor, body.channel, address, body.name, is_proven=call.caller.is_admin)
    except BadInputError as error:
        if "already" in str(error):
            raise Conflict(str(error)) from None
        raise
    return ApiAnswer(describe_endpoint(added, channels), 201)


def _show_own_endpoint(call: ApiCall) -> ApiAnswer:
    """Show one of your endpoints, without the secrets of its address."""
    found, _ = _find_own(call)
    return ApiAnswer(describe_endpoint(found, call.service.channels))


def _remove_own_endpoint(call: ApiCall) -> ApiAnswer:
    """Remove one of your endpoints; what waits for it is suppressed."""
    found, actor = _find_own(call)
    remove_endpoint(call.connection, actor, found.name)
    return ApiAnswer({"name": found.name, "removed": True})


def _switch_on(call: ApiCall) -> ApiAnswer:
    """Send to one of your endpoints again, from now on."""
    return _change(call, switch_endpoint_on, "on")


def _switch_off(call: ApiCall) -> ApiAnswer:
    """Send nothing to one of your endpoints any more; what waits for it is suppressed."""
    return _change(call, partial(switch_endpoint_off, reason=call.body.reason), "off")


def _send_code(call: ApiCall) -> ApiAnswer:
    """Send a new code to one of your endpoints that is not verified; at most once a minute."""
    return _change(call, issue_code, "code sent")


def _verify_own(call: ApiCall) -> ApiAnswer:
    """Verify one of your endpoints by the code that came there. A wrong code counts; after five, ask for another."""
    found, actor = _find_own(call)
    try:
        verify_endpoint(call.connection, actor, found.name, call.body.code)
    except BadInputError as error:
        raise WrongTry(str(error)) from None
    return ApiAnswer({"name": found.name, "outcome": "verified"})


def _test_own(call: ApiCall) -> ApiAnswer:
    """Send a test to one of your endpoints, past preferences and quiet hours."""
    answer = _change(call, send_test, "test queued")
    answer.status = 202
    return answer


def _is_reference(value: object) -> bool:
    return any(map(_is_reference, value)) if isinstance(value, list) else is_reference(str(value).strip())


def _change(call: ApiCall, change: Callable[[Any, Actor, str], Any], outcome: str) -> ApiAnswer:
    found, actor = _find_own(call)
    try:
        change(call.connection, actor, found.name)
    except BadInputError as error:
        raise Conflict(str(error)) from None
    return ApiAnswer({"name": found.name, "outcome": outcome})


def _find_own(call: ApiCall) -> tuple[Endpoint, Actor]:
    actor, name = call.caller.acting_for(call.query.user), call.path["endpoint"]
    try:
        return find_endpoint(call.connection, actor.user, name), actor
    except UnknownNameError:
        raise NotFound("endpoint", name) from None


def _post(verb: str, summary: str, handler: Callable[[ApiCall], ApiAnswer], **words: Any) -> Operation:
    given: Mapping[str, Any] = {"body": Nothing, "status": 200} | words
    return Operation(
        *("POST", f"/endpoints/{{endpoint}}/{verb}", summary, handler, EndpointOutcome),
        scope="notify",
        query=OwnerQuery,
        action=f"endpoint.{verb}",
        object_type="endpoint",
        problems=(400, 404, 409),
        **given,
    )


ENDPOINT_OPERATIONS = (
    Operation(
        *("GET", "/endpoints", "List endpoints", _list_own_endpoints, EndpointList),
        query=OwnerQuery,
        object_type="endpoint",
    ),
    Operation(
        *("POST", "/endpoints", "Add an endpoint", _add_own_endpoint, EndpointView),
        scope="notify",
        query=OwnerQuery,
        body=EndpointBody,
        status=201,
        action="endpoint.add",
        object_type="endpoint",
        problems=(400, 409),
        example={"channel": "mail", "address": "ann@example.com", "name": "work"},
    ),
    Operation(
        *("GET", "/endpoints/{endpoint}", "Show an endpoint", _show_own_endpoint, EndpointView),
        query=OwnerQuery,
        object_type="endpoint",
        problems=(404,),
    ),
    Operation(
        *("DELETE", "/endpoints/{endpoint}", "Remove an endpoint", _remove_own_endpoint, Removed),
        scope="notify",
        query=OwnerQuery,
        action="endpoint.remove",
        object_type="endpoint",
        problems=(404,),
    ),
    _post("on", "Send to an endpoint again", _switch_on),
    _post("off", "Send nothing to an endpoint", _switch_off, body=OffBody, example={"reason": "holidays"}),
    _post("code", "Send a code to an endpoint", _send_code, status=202),
    _post("verify", "Verify an endpoint by a code", _verify_own, body=CodeBody, example={"code": "K7M2WXYZ"}),
    _post("test", "Send a test to an endpoint", _test_own, status=202),
)
