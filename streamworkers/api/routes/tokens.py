"""Routes about tokens: who may use this API. The text of a new one is in the answer, once."""

from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec

from streamworkers.admin.tokens import (
    GRACE,
    LIFE,
    LONGEST_LIFE,
    ApiToken,
    NewToken,
    create_token,
    list_tokens,
    revoke_token,
    rotate_token,
)
from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.api.problem import Conflict, NotFound
from streamworkers.api.reading import LARGEST_INTEGER
from streamworkers.api.routes.alert_types import OwnerQuery
from streamworkers.errors import BadInputError, UnknownNameError

Days = Annotated[int, msgspec.Meta(ge=1, le=LONGEST_LIFE.days)]
Minutes = Annotated[float, msgspec.Meta(ge=0, le=10_080)]


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """Whose token it is, what it may do, and in how many days it expires; a new name of a user makes the user."""

    name: str
    user: str
    scopes: list[str]
    days: Days = LIFE.days


class RotateBody(msgspec.Struct, forbid_unknown_fields=True):
    """For how many minutes the old token is still good."""

    grace_minutes: Minutes = GRACE.total_seconds() / 60


class TokenView(msgspec.Struct):
    """What is known of a token; `state` is `good`, `ending`, `expired` or `revoked`."""

    id: int
    name: str
    user: str
    scopes: list[str]
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None
    rotated_from: int | None


class CreatedToken(TokenView, omit_defaults=True):
    """A new token. Its text is not in the answer to the same request sent again: nobody knows it any more."""

    text: str | msgspec.UnsetType = msgspec.UNSET


class TokenList(msgspec.Struct):
    """Tokens with their states, the newest first."""

    tokens: list[TokenView]


def _list_all_tokens(call: ApiCall) -> ApiAnswer:
    """List tokens, of all users or of one: whose they are, what they may do, and when they were used last."""
    return ApiAnswer({"tokens": [_show_token(each) for each in list_tokens(call.connection, call.query.user)]})


def _create_new_token(call: ApiCall) -> ApiAnswer:
    """Make a token. Its text is in the answer, once: only a digest of it is kept."""
    body: TokenBody = call.body
    life = timedelta(days=body.days)
    return _answer_new(create_token(call.connection, call.caller.actor, body.name, body.user, body.scopes, life))


def _rotate_one_token(call: ApiCall) -> ApiAnswer:
    """Make the successor of a token; the old one is good for some minutes more. 409 if it is not good any more."""
    grace = timedelta(minutes=call.body.grace_minutes)
    try:
        return _answer_new(rotate_token(call.connection, call.caller.actor, _read_token(call), grace))
    except UnknownNameError:
        raise NotFound("token", call.path["token"]) from None
    except BadInputError as error:
        raise Conflict(str(error)) from None


def _revoke_one_token(call: ApiCall) -> ApiAnswer:
    """Reject a token from now on."""
    try:
        return ApiAnswer(_show_token(revoke_token(call.connection, call.caller.actor, _read_token(call))))
    except UnknownNameError:
        raise NotFound("token", call.path["token"]) from None


def _read_token(call: ApiCall) -> int:
    text = call.path["token"]
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= LARGEST_INTEGER):
        raise NotFound("token", text)
    return int(text)


def _answer_new(made: NewToken) -> ApiAnswer:
    return ApiAnswer(_show_token(made.token), 201, once={"text": made.text})


def _show_token(token: ApiToken) -> dict[str, Any]:
    names = ("id", "name", "user", "scopes", "state", "created_at", "created_by", "expires_at", "last_used_at")
    return {**{name: getattr(token, name) for name in names}, "rotated_from": token.rotated_from}


TOKEN_OPERATIONS = (
    Operation(
        *("GET", "/tokens", "List tokens", _list_all_tokens, TokenList),
        scope="admin",
        query=OwnerQuery,
        object_type="token",
    ),
    Operation(
        *("POST", "/tokens", "Make a token", _create_new_token, CreatedToken),
        scope="admin",
        body=TokenBody,
        status=201,
        action="token.create",
        object_type="token",
        problems=(400, 409),
        example={"name": "desk", "user": "ann", "scopes": ["read", "run"]},
    ),
    Operation(
        *("POST", "/tokens/{token}/rotate", "Make the successor of a token", _rotate_one_token, CreatedToken),
        scope="admin",
        body=RotateBody,
        status=201,
        action="token.rotate",
        object_type="token",
        problems=(400, 404, 409),
        example={"grace_minutes": 30},
    ),
    Operation(
        *("DELETE", "/tokens/{token}", "Revoke a token", _revoke_one_token, TokenView),
        scope="admin",
        action="token.revoke",
        object_type="token",
        problems=(404,),
    ),
)
