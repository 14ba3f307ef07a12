"""Endpoints are changed by one function each, and a code verifies what a user adds."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from streamworkers.actor import LOCAL, Actor
from streamworkers.database import Connection, fetch_value
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.notifications.channels.channel import Address
from streamworkers.notifications.store.codes import CODE_LIFE, MOST_TRIES, issue_code, verify_endpoint
from streamworkers.notifications.store.endpoints import (
    MOST_ENDPOINTS,
    Endpoint,
    add_endpoint,
    close_endpoint,
    find_at_address,
    find_by_id,
    find_endpoint,
    list_endpoints,
    move_endpoint,
    remove_endpoint,
    switch_endpoint_off,
    switch_endpoint_on,
)

ANA = Actor("ana", kind="bot")


def at(address: str, **settings: Any) -> Address:
    """An address that its channel has checked."""
    return Address(address, settings)


@pytest.fixture
def mail(connection: Connection) -> Endpoint:
    """Mail that Ana added by herself."""
    connection.execute("INSERT INTO users (id) VALUES ('ana')")
    return add_endpoint(connection, ANA, "mail", at("ana@example.org"))


def sent_code(connection: Connection) -> str:
    """The code in the newest delivery."""
    content = fetch_value(connection, "SELECT content FROM deliveries ORDER BY created_at DESC LIMIT 1")
    return str(content["lines"][0].split()[0])


def suppressed(connection: Connection) -> list[tuple[Any, ...]]:
    """States and reasons of all deliveries."""
    return connection.execute("SELECT state, reason FROM deliveries ORDER BY created_at, state").fetchall()


def test_an_administrators_endpoint_is_verified_and_named_by_its_channel(connection: Connection) -> None:
    first = add_endpoint(connection, LOCAL, "webhook", at("https://a.example", secret="env:HOOK"))
    second = add_endpoint(connection, LOCAL, "webhook", at("https://b.example"))
    assert (first.name, second.name, first.created_by) == ("webhook", "webhook-2", "cli:local")
    assert first.is_usable
    assert first.target == at("https://a.example", secret="env:HOOK")
    assert list_endpoints(connection, "local") == [first, second]
    assert find_by_id(connection, second.id) == second
    assert find_by_id(connection, second.id + 1) is None
    assert find_at_address(connection, "webhook", "https://b.example") == [second]


def test_only_a_proof_verifies_what_a_user_adds(connection: Connection, mail: Endpoint) -> None:
    chat = add_endpoint(connection, ANA, "telegram", at("17"), "phone", is_proven=True)
    assert (chat.is_usable, mail.is_usable, mail.verified_at) == (True, False, None)


def test_a_code_verifies_its_endpoint_once(connection: Connection, mail: Endpoint) -> None:
    """It goes out as a delivery with the end of the code, and only its hash is with the endpoint."""
    issue_code(connection, ANA, "mail")
    code = sent_code(connection)
    row = connection.execute("SELECT code_hash FROM endpoints WHERE id = %s", (mail.id,)).fetchone()
    assert row is not None
    assert code.encode() not in bytes(row[0])
    sent = connection.execute(
        "SELECT endpoint_id, type, priority, state, expires_at - created_at <= %s FROM deliveries", (CODE_LIFE,)
    ).fetchall()
    assert sent == [(mail.id, "endpoint_code", "urgent", "queued", True)]
    verify_endpoint(connection, ANA, "mail", f" {code[:4].lower()}-{code[4:]} ")
    assert find_endpoint(connection, "ana", "mail").is_usable
    verify_endpoint(connection, ANA, "mail", "anything, as it is verified already")
    with pytest.raises(BadInputError, match="endpoint 'mail' is verified already"):
        issue_code(connection, ANA, "mail")


def test_wrong_codes_are_counted_and_the_right_one_comes_too_late(connection: Connection, mail: Endpoint) -> None:
    del mail
    with pytest.raises(BadInputError, match="no code was sent to endpoint 'mail': ask for one first"):
        verify_endpoint(connection, ANA, "mail", "ABCDEFGH")
    issue_code(connection, ANA, "mail")
    for _ in range(MOST_TRIES):
        with pytest.raises(BadInputError, match="this is not the code that was sent to endpoint 'mail'"):
            verify_endpoint(connection, ANA, "mail", "0\ud800")
    with pytest.raises(BadInputError, match="5 wrong codes were tried for endpoint 'mail': ask for another"):
        verify_endpoint(connection, ANA, "mail", sent_code(connection))
    assert not find_endpoint(connection, "ana", "mail").is_usable


@pytest.mark.parametrize(("age", "is_good"), [(CODE_LIFE - timedelta(seconds=30), True), (CODE_LIFE, False)])
def test_a_code_ends(connection: Connection, mail: Endpoint, age: timedelta, is_good: bool) -> None:
    issue_code(connection, ANA, "mail")
    connection.execute("UPDATE endpoints SET code_expires_at = code_expires_at - %s", (age,))
    if is_good:
        verify_endpoint(connection, ANA, "mail", sent_code(connection))
    else:
        with pytest.raises(BadInputError, match="the code of endpoint 'mail' has ended after 15 minutes"):
            verify_endpoint(connection, ANA, "mail", sent_code(connection))
    assert find_endpoint(connection, "ana", mail.name).is_usable is is_good


def test_codes_cannot_be_asked_for_all_the_time(connection: Connection, mail: Endpoint) -> None:
    """The next one replaces the one before, which is worth nothing from then on."""
    issue_code(connection, ANA, "mail")
    first = sent_code(connection)
    with pytest.raises(BadInputError, match="a code was sent to endpoint 'mail' less than a minute ago"):
        issue_code(connection, ANA, "mail")
    connection.execute("UPDATE endpoints SET code_expires_at = code_expires_at - interval '61 s'")
    issue_code(connection, ANA, "mail")
    with pytest.raises(BadInputError, match="this is not the code"):
        verify_endpoint(connection, ANA, "mail", first)
    switch_endpoint_off(connection, ANA, mail.name, "away")
    with pytest.raises(BadInputError, match=r"endpoint 'mail' is off \(away\): switch it on first"):
        issue_code(connection, ANA, "mail")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("E-Mail", at("x")), "channel 'E-Mail' is not a name of 1 to 64 small letters"),
        (("slack", at("x"), " "), "endpoint ' ' is not a name of 1 to 100 printable characters"),
        (("slack", at("x"), "a\nb"), r"endpoint 'a\\nb' is not a name of 1 to 100 printable characters"),
        (("slack", at("x"), "mail"), "user 'ana' has an endpoint 'mail' already: choose another name, or remove it"),
        (("mail", at("ana@example.org"), "two"), "user 'ana' has this address of mail already, as endpoint 'mail'"),
    ],
)
def test_a_wrong_endpoint_is_not_added(connection: Connection, mail: Endpoint, arguments: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        add_endpoint(connection, ANA, *arguments)
    assert list_endpoints(connection, "ana") == [mail]


def test_unknown_users_and_endpoints_are_named(connection: Connection, mail: Endpoint) -> None:
    with pytest.raises(UnknownNameError, match="no user is named 'anna'; did you mean 'ana'"):
        add_endpoint(connection, Actor("anna"), "mail", at("x"))
    for change in (find_endpoint, lambda c, _, name: remove_endpoint(c, ANA, name)):
        with pytest.raises(UnknownNameError, match="no endpoint is named 'post'; known: mail"):
            change(connection, "ana", "post")
    with pytest.raises(UnknownNameError, match="no endpoint is named 'mail'; there is no endpoint yet"):
        find_endpoint(connection, "local", mail.name)


def test_endpoints_of_a_user_are_bounded(connection: Connection) -> None:
    for number in range(MOST_ENDPOINTS):
        add_endpoint(connection, LOCAL, "webhook", at(f"https://{number}.example"))
    with pytest.raises(BadInputError, match="user 'local' has 50 endpoints, the most there may be"):
        add_endpoint(connection, LOCAL, "webhook", at("https://more.example"))


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda c, _: switch_endpoint_off(c, ANA, "mail"), "its endpoint is off: switched off by bot:ana"),
        (lambda c, e: close_endpoint(c, e.id, "blocked by the user"), "its endpoint is off: blocked by the user"),
        (lambda c, _: remove_endpoint(c, ANA, "mail"), "its endpoint was removed"),
    ],
)
def test_what_waits_for_an_endpoint_that_ends_is_suppressed(
    connection: Connection, mail: Endpoint, end: Callable[[Connection, Endpoint], object], reason: str
) -> None:
    """Nothing is skipped in silence; what is being sent, or was sent, stays."""
    for state in ("queued", "deferred", "failed", "sending", "sent"):
        connection.execute(
            "INSERT INTO deliveries (user_id, endpoint_id, channel, type, priority, state)"
            " VALUES ('ana', %s, 'mail', 'message', 'normal', %s)",
            (mail.id, state),
        )
    end(connection, mail)
    assert sorted(suppressed(connection), key=str) == sorted(
        [("sending", None), ("sent", None), *[("suppressed", reason)] * 3], key=str
    )


def test_an_endpoint_that_is_off_keeps_its_first_reason_and_comes_back(connection: Connection, mail: Endpoint) -> None:
    assert close_endpoint(connection, mail.id, "gone")
    assert not close_endpoint(connection, mail.id, "gone again")
    assert find_endpoint(connection, "ana", "mail").off_reason == "gone"
    switch_endpoint_on(connection, ANA, "mail")
    assert find_endpoint(connection, "ana", "mail").off_at is None


def test_an_endpoint_moves_where_its_provider_says_unless_it_is_there_already(connection: Connection) -> None:
    group = add_endpoint(connection, LOCAL, "telegram", at("-17"))
    add_endpoint(connection, LOCAL, "telegram", at("-18"))
    assert not move_endpoint(connection, group.id, "-18")
    assert move_endpoint(connection, group.id, "-10017")
    assert find_endpoint(connection, "local", "telegram").address == "-10017"
