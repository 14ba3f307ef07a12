"""What answers of Redis mean: the kind of fault, and a sentence with the way out, also from within a script."""

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import ServiceUrls
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.queue import FinishedBatch
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.errors import FaultKind, RedisUnavailableError, Store


@pytest.fixture
def limited(service_urls: ServiceUrls, streams: Streams) -> Iterator[Callable[..., tuple[Streams, Messages]]]:
    """Make a user with these rules of an ACL, and connect as it."""
    client: Any = streams.client.raw
    user, made = f"user-{secrets.token_hex(4)}", list[Any]()

    def connect(*rules: str, password: str = "right") -> tuple[Streams, Messages]:
        client.execute_command("ACL", "SETUSER", user, "on", ">right", *rules)
        socket = re.fullmatch(r"unix://([^?]*).*", service_urls.redis)
        assert socket is not None
        url = f"unix://{user}:{password}@{socket[1]}"
        made.extend([open_streams(url, streams.keys.prefix), Messages(url, streams.keys.prefix)])
        return made[-2], made[-1]

    yield connect
    for each in made:
        each.close()
    client.execute_command("ACL", "DELUSER", user)


def _fault_of(call: Callable[[], object]) -> tuple[FaultKind, str]:
    with pytest.raises(RedisUnavailableError) as caught:
        call()
    assert caught.value.store is Store.REDIS
    return caught.value.kind, str(caught.value)


RIGHTS = r".*: give the user of STREAMWORKERS_REDIS_URL the rights of docs/guides/operations\.md#rights$"


def test_a_command_without_its_right_is_rejected_and_named(limited: Callable[..., Any], streams: Streams) -> None:
    streams.queues.add("tests", 1, [b"x"])
    (delivery,) = streams.queues.read(["tests"], "one", 1, 1)
    few, inbox = limited("~*", "&*", "+@all", "-xreadgroup", "-publish", "-xack", "-subscribe", "-set", "-xlen")
    for call, named in (
        (lambda: few.queues.read(["tests"], "one", 1, 1), "xreadgroup"),
        (lambda: few.publish([("a", "b")]), r"publish\.lua calls DEL PUBLISH"),
        (lambda: few.queues.finish("tests", [FinishedBatch(1, [delivery.entry_id])]), r"finish\.lua calls .*XACK"),
        (
            lambda: few.leases.hold_service_lease("x", "one", 1),
            r"hold_lease\.lua calls DEL GET PEXPIRE PTTL SET on \S+:lease:x",
        ),
        (lambda: few.inspector.read_backlog("tests"), r"backlog\.lua calls .*XLEN"),
        (lambda: inbox.subscribe("a"), "SUBSCRIBE a"),
    ):
        kind, text = _fault_of(call)
        assert kind is FaultKind.REJECTED
        assert re.match(r"Redis rejects: .*" + named + RIGHTS, text), text


def test_a_key_without_its_right_is_rejected_and_named(limited: Callable[..., Any]) -> None:
    few, _ = limited("~elsewhere:*", "+@all")
    for call, named in (
        (lambda: few.inspector.read_open_counts("tests"), r"HGETALL \S+:open"),
        (lambda: few.queues.promote("tests", 1), r"promote\.lua calls .* on \S+:delayed \S+:stream"),
    ):
        kind, text = _fault_of(call)
        assert kind is FaultKind.REJECTED
        assert re.match(r"Redis rejects: .*" + named + RIGHTS, text), text


def test_a_wrong_password_is_rejected_and_not_shown(limited: Callable[..., Any]) -> None:
    few, _ = limited("~*", "+@all", password="wrong")
    kind, text = _fault_of(few.inspector.ping)
    assert kind is FaultKind.REJECTED
    login = "correct the user or the password in STREAMWORKERS_REDIS_URL"
    assert re.match(rf"Redis rejects: WRONGPASS .*: {login}$", text)
    assert "wrong@" not in text


def test_a_key_of_another_type_is_rejected_in_a_script_too(streams: Streams) -> None:
    streams.client.raw.set(streams.keys.stream("tests"), "x", px=60_000)
    advice = "another program has written this key: rename or delete it, or set STREAMWORKERS_KEY_PREFIX"
    for call in (
        lambda: streams.queues.read(["tests"], "one", 1, 1),
        lambda: streams.queues.add("tests", 1, [b"x"]),
    ):
        kind, text = _fault_of(call)
        assert kind is FaultKind.REJECTED
        assert re.match(rf"Redis rejects: WRONGTYPE .*: {advice}$", text), text


def test_an_unknown_command_is_rejected(streams: Streams) -> None:
    from streamworkers.engine.redis.client import translate_errors

    def call() -> None:
        with translate_errors():
            streams.client.raw.execute_command("NOSUCH")  # type: ignore[no-untyped-call]

    kind, text = _fault_of(call)
    assert kind is FaultKind.REJECTED
    assert text.startswith("Redis rejects: ERR unknown command")
