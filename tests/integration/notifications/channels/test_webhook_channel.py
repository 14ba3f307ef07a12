"""Webhooks against a receiver that verifies: signatures, what each answer means, and where calls may go."""

import base64
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from certificates import Authority
from patience import paced
from streamworkers.config import Settings
from streamworkers.errors import BadInputError
from streamworkers.notifications.channels import public_addresses
from streamworkers.notifications.channels.channel import Address, NotSentError
from streamworkers.notifications.channels.http import AnswerBound, HttpCaller, NoAnswerError
from streamworkers.notifications.channels.public_addresses import PublicBackend, is_public
from streamworkers.notifications.channels.webhook import Webhook, sign
from streamworkers.notifications.content import Content
from streamworkers_fakes.webhook import FakeReceiver, RunningFakeReceiver, find_signature_fault, running_fake_receiver

OLD, NEW = b"an old secret, long enough", b"a new secret, long enough"
DELIVERY = UUID("8c6f39a4-5a9c-4f0e-9a53-2f6f0c7f0001")
CONTENT = Content("AAPL", ("above 150",), link="https://x.example/")


@pytest.fixture(scope="module")
def running() -> Iterator[RunningFakeReceiver]:
    with running_fake_receiver(FakeReceiver([NEW])) as server:
        yield server


@pytest.fixture
def server(running: RunningFakeReceiver, monkeypatch: pytest.MonkeyPatch) -> RunningFakeReceiver:
    running.receiver.forget()
    running.receiver.secrets = (NEW,)
    monkeypatch.setenv("HOOK_OLD", OLD.decode())
    monkeypatch.setenv("HOOK_NEW", "whsec_" + base64.b64encode(NEW).decode())
    return running


@pytest.fixture
def channel() -> Iterator[Webhook]:
    opened = Webhook(Settings(webhook_private=True))
    yield opened
    opened.close()


def address_of(server: RunningFakeReceiver, *secrets: str, path: str = "/hooks/planted-path") -> Address:
    return Webhook(Settings()).check_address(f"{server.url}{path}", {"secret": list(secrets or ("env:HOOK_NEW",))})


def send(channel: Webhook, address: Address, delivery: UUID = DELIVERY) -> str | None:
    (part,) = channel.render(CONTENT, address, has_picture=False)
    return channel.send(part, address, delivery=delivery, picture=None)


def test_a_call_is_signed_and_named_by_its_delivery(channel: Webhook, server: RunningFakeReceiver) -> None:
    assert send(channel, address_of(server)) == str(DELIVERY)
    (call,) = server.taken
    assert call.headers["webhook-id"] == str(DELIVERY)
    assert call.headers["content-type"] == "application/json"
    assert call.json["type"] == "notification"
    assert call.json["data"] == {
        "title": "AAPL",
        "lines": ["above 150"],
        "more": [],
        "left_out": 0,
        "link": "https://x.example/",
    }


def test_while_secrets_change_both_sign(channel: Webhook, server: RunningFakeReceiver) -> None:
    both = address_of(server, "env:HOOK_NEW", "env:HOOK_OLD")
    for valid in (OLD, NEW):
        server.receiver.secrets = (valid,)
        send(channel, both)
    assert len(server.taken) == 2
    with pytest.raises(NotSentError) as raised:
        send(channel, address_of(server, "env:HOOK_OLD"))
    assert (str(raised.value), raised.value.permanent) == ("the receiver answered 401", True)
    assert server.calls[-1].fault == "no signature fits"


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the specification's own libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [secret])
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_signature_covers_id_time_and_body() -> None:
    now = time.time()
    headers = sign("a", int(now), b"body", [NEW])
    assert find_signature_fault(headers, b"body", [NEW], now) is None
    assert find_signature_fault(headers, b"Body", [NEW], now) == "no signature fits"
    assert find_signature_fault(headers | {"webhook-id": "b"}, b"body", [NEW], now) == "no signature fits"
    assert find_signature_fault(headers, b"body", [NEW], now + 301) == "webhook-timestamp is too far away"
    assert find_signature_fault({}, b"body", [NEW], now) == "webhook-id or webhook-timestamp is missing"


# The table of outcomes.
OUTCOMES: dict[str, dict[str, Any]] = {
    "status=201": {"taken": True},
    "status=400": {"permanent": True},
    "status=404": {"permanent": True},
    "status=410": {"permanent": True, "endpoint_off": True},
    "status=429": {},
    "status=500": {},
    "status=503": {},
    "retry_after=30": {"retry_after": 30, "bucket": "webhook:127.0.0.1"},
    "retry_after=40/503": {"retry_after": 40, "bucket": "webhook:127.0.0.1"},
    "redirect=http://127.0.0.1:1/": {"permanent": True},
    "huge=1000000": {"taken": True},
    "drop": {"unknown": True},
    "drop_before": {"unknown": True},
}


def outcome(channel: Webhook, address: Address) -> tuple[dict[str, Any], str]:
    try:
        send(channel, address)
    except NoAnswerError as error:
        return {"unknown": True}, str(error)
    except NotSentError as error:
        names = ("permanent", "retry_after", "bucket", "endpoint_off", "moved_to")
        return {name: getattr(error, name) for name in names if getattr(error, name)}, str(error)
    return {"taken": True}, ""


def test_a_receiver_that_asks_to_wait_holds_no_other_of_its_host(channel: Webhook, server: RunningFakeReceiver) -> None:
    server.receiver.plan("retry_after=99999999")
    one, other = address_of(server), address_of(server, path="/hooks/planted-other")
    with pytest.raises(NotSentError) as raised:
        send(channel, one)
    own, of_host = channel.limits(one)
    assert (raised.value.bucket, raised.value.retry_after) == (own.bucket, 86_400)
    assert own.bucket not in {limit.bucket for limit in channel.limits(other)}
    assert of_host in channel.limits(other)
    assert "planted" not in str(channel.limits(other))


@pytest.mark.parametrize("plan", OUTCOMES)
def test_each_answer_has_its_outcome(channel: Webhook, server: RunningFakeReceiver, plan: str) -> None:
    server.receiver.plan(plan)
    found, words = outcome(channel, address_of(server))
    if "bucket" in found:
        found["bucket"] = found["bucket"].rsplit(":", 2)[0]
    assert found == OUTCOMES[plan]
    assert len(server.calls) == 1  # a redirect is not followed
    assert "planted" not in words
    if plan.startswith("redirect"):
        assert words == "the receiver answered 302, and redirects are not followed"


def test_a_receiver_that_is_slow_is_unknown_only_without_a_status(
    channel: Webhook, server: RunningFakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Webhook, "call_seconds", 1 + paced(0.5))
    server.receiver.plan("slow=0.4")
    assert outcome(channel, address_of(server))[0] == {"taken": True}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address(f"http://127.0.0.1:{silent.getsockname()[1]}/", {"secret": ["env:HOOK_NEW"]})
        found, words = outcome(channel, address)
    assert found == {"unknown": True}
    assert words.startswith("no answer: ReadTimeout")


def test_more_of_a_body_than_the_bound_is_not_read(server: RunningFakeReceiver) -> None:
    server.receiver.plan("huge=1000000")
    bound = AnswerBound.of(Settings(channel_max_answer_bytes=2000))
    assert str(bound) == "STREAMWORKERS_CHANNEL_MAX_ANSWER_BYTES=2000"
    for caller, most in ((HttpCaller(1), 65_536), (HttpCaller(1, bound=bound), 2000)):
        reply = caller.post(httpx.URL(f"{server.url}/x"), seconds=paced(10), content=b"")
        caller.close()
        assert (len(reply.body), reply.is_whole) == (most, False)


def test_secrets_are_read_where_they_are_needed(
    channel: Webhook, server: RunningFakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_URL", f"{server.url}/planted")
    assert outcome(channel, channel.check_address("env:HOOK_URL", {"secret": "env:HOOK_NEW"})) == ({"taken": True}, "")
    assert outcome(channel, address_of(server, "env:HOOK_GONE")) == (
        {"permanent": True},
        "HOOK_GONE is not set in the environment of this process",
    )
    address = address_of(server, "env:HOOK_GONE")
    assert channel.find_missing_setting(address) == "HOOK_GONE is not set in the environment of this process"
    monkeypatch.setenv("HOOK_BAD", "whsec_planted!")
    assert outcome(channel, address_of(server, "env:HOOK_BAD")) == (
        {"permanent": True},
        "what follows whsec_ in HOOK_BAD is not base64",
    )
    monkeypatch.setenv("HOOK_URL", "planted")
    assert outcome(channel, Address("env:HOOK_URL", {"secret": ["env:HOOK_NEW"]})) == (
        {},
        "the address of a webhook is not a URL as https://example.com/hooks",
    )


def test_a_private_address_is_called_only_where_it_is_allowed(
    server: RunningFakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Webhook(Settings())
    port = server.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "2130706433", "127.1", "[::ffff:127.0.0.1]", "0.0.0.0"):
        address = channel.check_address(f"http://{host}:{port}/", {"secret": "env:HOOK_NEW"})
        assert outcome(channel, address) == (
            {"permanent": True},
            "its host has a private address; STREAMWORKERS_WEBHOOK_PRIVATE allows it",
        )
    assert server.calls == []
    monkeypatch.setattr(public_addresses, "is_public", lambda _: True)  # the negative control
    assert outcome(channel, address_of(server)) == ({"taken": True}, "")
    channel.close()


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.5.5",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:0a00:0001::",
    ],
)
def test_these_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_these_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_the_call_goes_to_the_address_that_was_checked(
    server: RunningFakeReceiver, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A name that means another address the second time; its certificate and Host header are those of the name."""
    asked: list[str] = []
    lookup = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: Any, **named: Any) -> Any:
        if host == "hooks.example":
            asked.append(host)
            host = "127.0.0.1" if len(asked) == 1 else "10.255.255.1"
        return lookup(host, port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(public_addresses, "is_public", lambda address: address == "127.0.0.1")
    authority = Authority(tmp_path_factory.mktemp("authority"))
    context = ssl.create_default_context(cafile=str(authority.file))
    monkeypatch.setattr(Webhook, "make_caller", lambda _: HttpCaller(1, PublicBackend, context))
    with running_fake_receiver(FakeReceiver([NEW]), certificate=authority.issue("hooks.example")) as secure:
        channel = Webhook(Settings())
        address = channel.check_address(f"https://hooks.example:{secure.port}/a?b=c", {"secret": "env:HOOK_NEW"})
        assert outcome(channel, address) == ({"taken": True}, "")
        (call,) = secure.taken
        assert call.headers["host"] == f"hooks.example:{secure.port}"
        assert call.path == "/a?b=c"
        channel.close()
    assert asked == ["hooks.example"]


def test_a_host_without_an_address_was_not_called(monkeypatch: pytest.MonkeyPatch, server: RunningFakeReceiver) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    channel = Webhook(Settings())
    found = outcome(channel, Address("https://planted.example/", {"secret": ["env:HOOK_NEW"]}))
    assert found == ({}, "no connection: ConnectError: its host has no address: Name or service not known")


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("planted", {"secret": "env:A"}, "the address of a webhook is not a URL as https://example.com/hooks"),
        ("ftp://a/planted", {"secret": "env:A"}, "the address of a webhook is not a URL as https://example.com/hooks"),
        (
            "https://planted:x@a.example/",
            {"secret": "env:A"},
            "the URL of a webhook has a user or password, which are no part of it",
        ),
        ("https://a.example/", {}, "secret is a secret: name the variable that holds it, as env:MY_SECRET"),
        (
            "https://a.example/",
            {"secret": "planted"},
            "secret is a secret: name the variable that holds it, as env:MY_SECRET",
        ),
        ("https://a.example/", {"secret": ["env:A"] * 6}, "secret has 6 references, not 1 to 5"),
        (
            "https://a.example/",
            {"secret": "env:A", "x": 1},
            "the channel webhook has no setting 'x'; it has secret",
        ),
    ],
)
def test_a_bad_address_is_an_error_that_does_not_show_it(
    channel: Webhook, address: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError) as raised:
        channel.check_address(address, options)
    assert str(raised.value) == message


def test_people_see_the_host_alone(channel: Webhook) -> None:
    shown = [
        channel.show_address(channel.check_address(address, {"secret": "env:A"}))
        for address in ("https://a.example:8443/planted?x=planted", "env:HOOK_URL")
    ]
    assert shown == ["https://a.example/…", "env:HOOK_URL"]


def test_a_digest_that_is_too_long_is_counted(channel: Webhook) -> None:
    content = Content("many", ("a",), tuple("x" * 1000 for _ in range(500)))
    (part,) = channel.render(content, Address("env:A", {}), has_picture=False)
    assert len(part["body"]) < 220_000
    assert '"left_out":301' in part["body"]
