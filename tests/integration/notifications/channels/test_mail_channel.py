"""Mail against a fake server: what arrives, encryption, and what each answer means."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from email.policy import SMTP
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from certificates import Authority
from patience import paced, patient
from streamworkers.config import Settings
from streamworkers.errors import BadInputError
from streamworkers.notifications.channels import smtp
from streamworkers.notifications.channels.channel import Address, NotSentError
from streamworkers.notifications.channels.http import NoAnswerError
from streamworkers.notifications.channels.mail import Mail, write_mail
from streamworkers.notifications.content import Content, Picture
from streamworkers_fakes.serving import Certificate
from streamworkers_fakes.smtp import RunningFakeSmtp, SmtpOptions, running_fake_smtp

BOB = Address("bob@example.com", {})
PNG = Picture(b"\x89PNG\r\n\x1a\n" + b"x" * 100, "AAPL, day bars")
PASSWORD = "planted-password"
DELIVERY = UUID("8c6f39a4-5a9c-4f0e-9a53-2f6f0c7f0001")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.issue("localhost")


@pytest.fixture(scope="module")
def running(certificate: Certificate) -> Iterator[RunningFakeSmtp]:
    with running_fake_smtp(SmtpOptions("starttls", certificate, "alice", PASSWORD)) as server:
        yield server


@pytest.fixture
def server(running: RunningFakeSmtp) -> RunningFakeSmtp:
    running.clear()
    return running


@pytest.fixture
def channel(server: RunningFakeSmtp, authority: Authority) -> Mail:
    return open_channel(server, authority, smtp_user="alice", smtp_password=SecretStr(PASSWORD))


def open_channel(server: RunningFakeSmtp, authority: Authority | None = None, **more: Any) -> Mail:
    known: dict[str, Any] = {
        "smtp_host": "localhost",
        "smtp_port": server.port,
        "smtp_from": "Alerts <alerts@sender.example>",
        "smtp_ca_file": None if authority is None else str(authority.file),
    }
    return Mail(Settings(**(known | more)))


def send(channel: Mail, content: Content, picture: Picture | None = None, delivery: UUID = DELIVERY) -> str | None:
    (part,) = channel.render(content, BOB, has_picture=picture is not None)
    return channel.send(part, BOB, delivery=delivery, picture=picture)


def test_a_mail_that_nobody_subscribed_to_offers_no_way_to_unsubscribe(channel: Mail, server: RunningFakeSmtp) -> None:
    send(channel, Content("Your code is 123456"))
    assert "List-Unsubscribe" not in server.mails[-1].message


def test_a_mail_has_text_html_and_picture(channel: Mail, server: RunningFakeSmtp) -> None:
    content = Content("AAPL <up> & away", ("price > 150", "é"), link="https://x.example/?a=1&b=2", is_subscribed=True)
    number = send(channel, content, PNG)
    (mail,) = server.mails
    message = mail.message
    assert (mail.sender, mail.recipients, mail.encrypted, mail.user) == (
        "alerts@sender.example",
        ("bob@example.com",),
        True,
        "alice",
    )
    assert (message["From"], message["To"]) == ("Alerts <alerts@sender.example>", "bob@example.com")
    assert message["Subject"] == "AAPL <up> & away"
    assert message["Message-ID"] == number == f"<{DELIVERY}@sender.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["List-Unsubscribe"] == "<mailto:alerts@sender.example?subject=unsubscribe>"
    assert abs(message["Date"].datetime.timestamp() - time.time()) < patient(600)
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().replace("\r\n", "\n") == (
        "AAPL <up> & away\n\nprice > 150\né\n\nhttps://x.example/?a=1&b=2\n"
    )
    shown = html.get_content()
    assert "<b>AAPL &lt;up&gt; &amp; away</b>" in shown
    assert '<a href="https://x.example/?a=1&amp;b=2">https://x.example/?a=1&amp;b=2</a>' in shown
    assert 'src="cid:chart" alt="AAPL, day bars"' in shown
    (image,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert (image["Content-ID"], image.get_content()) == ("<chart>", PNG.data)


def test_a_mail_that_is_sent_again_has_the_same_id(channel: Mail, server: RunningFakeSmtp) -> None:
    for _ in range(2):
        send(channel, Content("t"))
    assert len({mail.message["Message-ID"] for mail in server.mails}) == 1


@pytest.mark.parametrize(
    "value",
    [
        "<b>AAPL</b> & *bold*",
        "\U0001f600 \U0001f468\u200d\U0001f469",
        "שלום עليكم",
        "x" * 5000,
        ".\n..\n.dot",
        "From me\n\nbody",
    ],
)
def test_any_value_arrives_as_it_is_in_short_ascii_lines(channel: Mail, server: RunningFakeSmtp, value: str) -> None:
    send(channel, Content("title", (value,)))
    (mail,) = server.mails
    body = mail.message.get_body(("plain",))
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == f"title\n\n{value}\n"
    assert mail.content.isascii()
    assert max(map(len, mail.content.split(b"\r\n"))) <= 998
    assert b"\n" not in mail.content.replace(b"\r\n", b"")


def test_no_value_makes_another_header(channel: Mail, server: RunningFakeSmtp) -> None:
    send(channel, Content("hello\r\nBcc: eve@example.com\nX-Evil: 1\r\n\r\nbody"))
    (mail,) = server.mails
    assert mail.message["Subject"] == "hello Bcc: eve@example.com X-Evil: 1 body"
    assert mail.message["Bcc"] is None
    assert mail.message["X-Evil"] is None
    assert mail.recipients == ("bob@example.com",)


@pytest.mark.parametrize("place", ["sender", "recipient", "subject"])
def test_control_a_line_break_that_came_so_far_is_an_error(place: str) -> None:
    values = {"sender": "a@b.example", "recipient": "c@d.example", "subject": "s"}
    values[place] += "\r\nBcc: eve@example.com"
    part = {"subject": values["subject"], "title": "t", "rest": ""}
    with pytest.raises(ValueError, match="Header values may not contain linefeed"):
        write_mail(part, values["sender"], values["recipient"], DELIVERY, None).as_bytes(policy=SMTP)


# The table of outcomes.
OUTCOMES: dict[str, dict[str, Any]] = {
    "421": {},
    "421,step=mail": {},
    "450": {},
    "451": {},
    "452,step=data": {},
    "550": {"permanent": True},
    "550,to=bob@example.com": {"permanent": True},  # one of several recipients is rejected
    "552": {"permanent": True},
    "552,step=data": {"permanent": True},
    "554,step=mail": {"permanent": True},
    "drop_before": {},
    "drop": {"unknown": True},
    "timeout": {"unknown": True},
}


def outcome(raised: BaseException) -> dict[str, Any]:
    if isinstance(raised, NoAnswerError):
        return {"unknown": True}
    names = ("permanent", "retry_after", "bucket", "endpoint_off", "moved_to")
    return {name: getattr(raised, name) for name in names if getattr(raised, name)}


@pytest.mark.parametrize("plan", OUTCOMES)
def test_each_answer_has_its_outcome(
    channel: Mail, server: RunningFakeSmtp, plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "_WAIT_SECONDS", paced(0.4) if plan == "timeout" else patient(15))
    server.plan(plan)
    with pytest.raises((NotSentError, NoAnswerError)) as raised:
        send(channel, Content("title"))
    assert outcome(raised.value) == OUTCOMES[plan]
    assert len(server.mails) == (OUTCOMES[plan] == {"unknown": True})
    words = str(raised.value)
    assert "bob" not in words
    assert "alerts@" not in words
    assert PASSWORD not in words
    if plan[:3].isdigit():
        assert words.startswith(f"the mail server answered {plan[:3]} to ")


def test_rejecting_one_recipient_leaves_the_others(channel: Mail, server: RunningFakeSmtp) -> None:
    server.plan("550,to=bob@example.com")
    carol = Address("carol@example.com", {})
    (part,) = channel.render(Content("t"), carol, has_picture=False)
    channel.send(part, carol, delivery=uuid4(), picture=None)
    with pytest.raises(NotSentError):
        send(channel, Content("t"))
    assert [mail.recipients for mail in server.mails] == [("carol@example.com",)]


def test_temporary_failures_are_tried_again_after_1_5_15_and_60_minutes() -> None:
    assert [seconds / 60 for seconds in Mail.retry_seconds] == [1, 5, 15, 60]


def test_tls_from_the_first_byte(authority: Authority, certificate: Certificate) -> None:
    with running_fake_smtp(SmtpOptions("tls", certificate)) as server:
        send(open_channel(server, authority, smtp_security="tls"), Content("t"))
        assert [mail.encrypted for mail in server.mails] == [True]
        with pytest.raises(NotSentError) as raised:
            send(open_channel(server, smtp_security="tls"), Content("t"))
        assert "CERTIFICATE_VERIFY_FAILED" in str(raised.value)


def test_without_starttls_nothing_is_sent_unless_none_is_wanted() -> None:
    with running_fake_smtp() as server:
        with pytest.raises(NotSentError) as raised:
            send(open_channel(server), Content("t"))
        assert str(raised.value) == ("the mail server offers no STARTTLS, which STREAMWORKERS_SMTP_SECURITY requires")
        assert not raised.value.permanent
        assert server.mails == []
        send(open_channel(server, smtp_security="none"), Content("t"))
        assert [mail.encrypted for mail in server.mails] == [False]


def test_a_certificate_of_another_authority_or_host_is_rejected(
    server: RunningFakeSmtp, authority: Authority, tmp_path: Path
) -> None:
    for channel in (
        open_channel(server, Authority(tmp_path)),
        open_channel(server),
        open_channel(server, authority, smtp_host="127.0.0.1"),
    ):
        with pytest.raises(NotSentError) as raised:
            send(channel, Content("t"))
        assert "CERTIFICATE_VERIFY_FAILED" in str(raised.value)
        assert not raised.value.permanent
    assert server.mails == []


def test_a_wrong_password_is_named_without_being_shown(server: RunningFakeSmtp, authority: Authority) -> None:
    channel = open_channel(server, authority, smtp_user="alice", smtp_password=SecretStr("planted-wrong"))
    with pytest.raises(NotSentError) as raised:
        send(channel, Content("t"))
    assert str(raised.value) == (
        "the mail server answered 535 to the login: correct STREAMWORKERS_SMTP_USER or STREAMWORKERS_SMTP_PASSWORD"
    )
    assert not raised.value.permanent


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"smtp_host": None}, "no mail: STREAMWORKERS_SMTP_HOST is not set"),
        ({"smtp_from": None}, "no mail: STREAMWORKERS_SMTP_FROM is not set"),
        (
            {"smtp_from": "nobody"},
            "STREAMWORKERS_SMTP_FROM is not an address of mail, as Alerts <alerts@example.com>",
        ),
    ],
)
def test_without_an_account_nothing_was_sent(server: RunningFakeSmtp, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(NotSentError) as raised:
        send(open_channel(server, **changes), Content("t"))
    assert (str(raised.value), raised.value.permanent) == (words, True), "another attempt would not find it either"


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    channel = Mail(Settings(smtp_host="127.0.0.1", smtp_port=port, smtp_from="a@b.example"))
    with pytest.raises(NotSentError) as raised:
        send(channel, Content("t"))
    assert str(raised.value).startswith("no connection to the mail server: ConnectionRefusedError")


def test_a_server_that_trickles_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes before the time-out of an answer, and the whole would never end."""
    monkeypatch.setattr(Mail, "call_seconds", 5 + paced(0.4))
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            peer, _ = listener.accept()
            with peer:
                while not stop.wait(0.05):
                    try:
                        peer.sendall(b"2")
                    except OSError:
                        return

        thread = threading.Thread(target=trickle)
        thread.start()
        settings = Settings(
            smtp_host="127.0.0.1", smtp_port=listener.getsockname()[1], smtp_from="a@b.example", smtp_security="none"
        )
        try:
            with pytest.raises(NotSentError) as raised:
                send(Mail(settings), Content("t"))
        finally:
            stop.set()
            thread.join()
    assert str(raised.value).startswith("no connection to the mail server: ")


def test_a_server_whose_answer_never_ends_fills_no_memory() -> None:
    """It sends line after line, as fast as they are read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def flood() -> None:
            peer, _ = listener.accept()
            with peer, suppress(OSError):
                while True:
                    peer.sendall(b"220-and so on\r\n" * 1000)

        thread = threading.Thread(target=flood)
        thread.start()
        port = listener.getsockname()[1]
        words: dict[str, Any] = {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_security": "none"}
        settings = Settings(smtp_from="a@b.example", channel_max_answer_bytes=2048, **words)
        with pytest.raises(NotSentError, match="what it answers exceeds STREAMWORKERS_CHANNEL_MAX_ANSWER_BYTES=2048"):
            send(Mail(settings), Content("t"))
        thread.join()


@pytest.mark.parametrize(
    ("given", "canonical"), [(" Bob@Example.COM ", "Bob@example.com"), ("a+b@localhost", "a+b@localhost")]
)
def test_an_address_has_one_form(channel: Mail, given: str, canonical: str) -> None:
    assert channel.check_address(given, {}) == Address(canonical, {})


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("bob", {}, "'bob' is not an address of mail, as bob@example.com"),
        ("a@b\nBcc: c@d", {}, "'a@b\\nBcc: c@d' is not an address of mail, as bob@example.com"),
        ("Bob <a@b>", {}, "'Bob <a@b>' is not an address of mail, as bob@example.com"),
        ("bö@b.example", {}, "'bö@b.example' is not an address of mail, as bob@example.com"),
        ("a@b", {"cc": "x"}, "the channel mail has no setting 'cc'; it has none"),
    ],
)
def test_a_bad_address_is_an_error(channel: Mail, address: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        channel.check_address(address, options)
    assert str(raised.value) == message


def test_the_limit_is_the_servers(channel: Mail) -> None:
    assert [tuple(limit) for limit in channel.limits(BOB)] == [("smtp:localhost", 10, 1.0)]
