"""The fake mail server and the fake receiver as processes and threads, and that nothing of them is left."""

import smtplib
import sys
import threading
from pathlib import Path

import httpx
import pytest

from patience import patient
from streamworkers.errors import BadInputError, UsageError
from streamworkers_fakes.smtp import RunningFakeSmtp, SmtpOptions, fake_smtp_process, running_fake_smtp
from streamworkers_fakes.webhook import fake_receiver_process, running_fake_receiver


def test_commands_serve_until_the_end_of_their_block(tmp_path: Path) -> None:
    with (
        fake_smtp_process("--plan", "450,to=b@c.example", "--folder", str(tmp_path)) as (host, port),
        fake_receiver_process("--plan", "status=503") as url,
    ):
        with smtplib.SMTP(host, port, timeout=patient(30)) as client:
            client.sendmail("a@b.example", ["c@d.example"], "Subject: x\r\n\r\nbody")
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.sendmail("a@b.example", ["b@c.example"], "x")
        assert httpx.post(f"{url}/any", json={}).status_code == 503
        assert httpx.get(f"{url}/any").status_code == 405
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"Subject: x\r\n\r\nbody\r\n"]
    with pytest.raises(OSError, match="refused"):
        smtplib.SMTP(host, port, timeout=patient(30))
    with pytest.raises(httpx.ConnectError):
        httpx.post(url)


def test_a_stopped_fake_leaves_no_thread_even_in_a_conversation() -> None:
    before = set(threading.enumerate())
    with running_fake_smtp() as server, running_fake_receiver():
        client = smtplib.SMTP(server.host, server.port, timeout=patient(30))
        client.ehlo()
    assert set(threading.enumerate()) <= before
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.mail("a@b.example")
    client.close()


def test_a_port_in_use_is_rejected() -> None:
    with running_fake_smtp() as server, pytest.raises(BadInputError) as raised:
        RunningFakeSmtp(port=server.port)
    assert str(raised.value).startswith(f"port {server.port} on 127.0.0.1 cannot be used: Address already in use")


def test_encryption_needs_a_certificate() -> None:
    with pytest.raises(BadInputError) as raised:
        RunningFakeSmtp(SmtpOptions("starttls"))
    assert str(raised.value) == "security starttls needs a certificate"


def test_without_its_package_the_mail_server_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiosmtpd", None)
    monkeypatch.setattr("streamworkers_fakes.smtp.server.find_spec", lambda _: None)
    with pytest.raises(UsageError) as raised:
        RunningFakeSmtp()
    assert str(raised.value) == "the fake mail server needs aiosmtpd; pip install 'streamworkers[fakes]'"
