"""Workers killed between claim, call and record of deliveries: none is lost, a second one is named, no secret leaks."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from harness import running_supervisor, wait_until
from outputs import Outputs
from scheduler.delivery_runs import DeliveryRuns
from streamworkers.actor import LOCAL
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.jobs.deliver import Deliver
from streamworkers.notifications.channels.registry import load_channels
from streamworkers.telegram.store.link_codes import make_code
from streamworkers_fakes.telegram import FakeBotApi, running_fake_bot_api
from streamworkers_fakes.webhook import running_fake_receiver

SABOTAGE = Path(__file__).parent / "killed_deliveries"
MARK = "s3cr3t"
TOKEN = f"123456:{MARK}-token"
CLAIMED = ("PLAIN-1", "CLAIMED-1", "TAKEN-1", "ANSWERED-1", "RECORDED-1")
BARE = ("TAKEN-2", "ANSWERED-2")
KILLS = len(CLAIMED) - 1 + len(BARE)
_ADD = """
WITH e AS (INSERT INTO endpoints (user_id, name, channel, address, settings, verified_at, created_by)
           VALUES ('local', %(name)s, %(channel)s, %(address)s, %(settings)s, now(), 'test') RETURNING id)
INSERT INTO deliveries (user_id, endpoint_id, channel, type, priority, content)
SELECT 'local', id, %(channel)s, %(type)s, 'urgent', %(content)s FROM e RETURNING id"""


def _add(connection: Connection, name: str, channel: str, address: str, **more: Any) -> UUID:
    """A delivery to an endpoint of its own; its message of Telegram has two parts if it dies between them."""
    lines = [" ".join([name] * 500)] if name.startswith("RECORDED") else []
    content = Jsonb({"title": name, "lines": lines})
    values = {"name": name, "channel": channel, "address": address, "type": "message", "settings": Jsonb({})} | more
    row = connection.execute(_ADD, values | {"content": content}).fetchone()
    assert row is not None
    return UUID(str(row[0]))


def _find_damage(connection: Connection, sent: Counter[str], names: tuple[str, ...]) -> tuple[set[str], set[str]]:
    """The deliveries that were lost, and those of which a part was sent twice and not named ambiguous."""
    rows = connection.execute(
        "SELECT e.name, d.state, d.parts_sent, d.ambiguities FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id"
        " WHERE e.name = ANY(%s)",
        (list(names),),
    ).fetchall()
    lost = {name for name, state, _, _ in rows if state != "sent" or not sent[name]}
    doubled = {name for name, _, parts, ambiguities in rows if sent[name] > parts + ambiguities}
    return lost, doubled


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test starts."""
    with ExitStack() as own:
        yield own


def test_no_message_is_lost_a_second_one_is_named_and_no_secret_leaks(
    stack: ExitStack,
    environment: dict[str, str],
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    settings: Settings,
    tmp_path: Path,
) -> None:
    """The deliveries of the type `bare` are the control: without claims, what is sent twice is named by nobody."""
    api = stack.enter_context(running_fake_bot_api(FakeBotApi(TOKEN, limits=None)))
    receiver = stack.enter_context(running_fake_receiver())
    receiver.receiver.plan("status=500")
    code = make_code(connection, LOCAL, "local", ())
    secrets = {
        "STREAMWORKERS_TELEGRAM_TOKEN": TOKEN,
        "STREAMWORKERS_SMTP_PASSWORD": f"{MARK}-password",
        "HOOK_SECRET": f"{MARK}-signs",
        **{f"{name}_URL": f"{receiver.url}/{name.lower()}/{MARK}" for name in ("HOOK", "SLACK", "DISCORD")},
    }
    own = (
        environment
        | secrets
        | {
            "PYTHONPATH": f"{SABOTAGE}:{environment['PYTHONPATH']}",
            "DEATHS": str(tmp_path),
            "STREAMWORKERS_TELEGRAM_URL": api.url,
            "STREAMWORKERS_LOG_LEVEL": "debug",
            "STREAMWORKERS_DELIVER_THREADS": "1",
            "STREAMWORKERS_WEBHOOK_PRIVATE": "true",
            "STREAMWORKERS_SMTP_HOST": "127.0.0.1",
            "STREAMWORKERS_SMTP_PORT": "1",
            "STREAMWORKERS_SMTP_FROM": "desk@example.org",
            "STREAMWORKERS_SMTP_USER": "desk",
        }
    )
    things = {
        str(_add(connection, name, "telegram", str(number), type="bare" if name in BARE else "message")): name
        for number, name in enumerate((*CLAIMED, *BARE), 1000)
    }
    hook = Jsonb({"secret": ["env:HOOK_SECRET"]})
    failing = [_add(connection, "hook", "webhook", "env:HOOK_URL", settings=hook)]
    failing += [_add(connection, name, name, f"env:{name.upper()}_URL") for name in ("slack", "discord")]
    failing.append(_add(connection, "post", "mail", "desk@example.org"))
    runs = DeliveryRuns(pool, streams, Registry([Deliver()]), load_channels(settings), 20)
    supervisor = stack.enter_context(
        running_supervisor(own, tmp_path, "--processes", "1", "--queue", "notify", "--metrics-port", "0")
    )

    def is_over() -> bool:
        runs.run_once()
        waiting = "SELECT count(*) FROM deliveries WHERE state <> 'sent' AND attempts = 0"
        return connection.execute(waiting).fetchone() == (0,)

    wait_until(is_over, 120, "each is sent, or has failed once")
    names = (re.search(r"[A-Z]+-\d", str(call.text)) for call in api.sent)
    sent = Counter(found[0] for found in names if found)
    assert _find_damage(connection, sent, CLAIMED) == (set(), set())
    assert _find_damage(connection, sent, BARE) == (set(), set(BARE))
    named = Counter(things[event["thing"]] for event in supervisor.events("call_ambiguous") if event["thing"] in things)
    assert named == Counter(CLAIMED[1:]), "each kill of a claimed delivery, and nothing else"
    wait_until(lambda: len(supervisor.events("worker_ended")) == KILLS, what="the supervisor has seen each death")
    reasons = [
        reason for (reason,) in connection.execute("SELECT reason FROM deliveries WHERE id = ANY(%s)", (failing,))
    ]
    assert all(reasons), "each of these says why"
    _require_no_secret(Outputs([supervisor], connection, streams), [MARK, code], connection, streams)


def _require_no_secret(outputs: Outputs, secrets: list[str], connection: Connection, streams: Streams) -> None:
    """And a secret that is put into each kind of place is found."""
    for secret in secrets:
        assert outputs.places_of(secret) == set()
    connection.execute("UPDATE deliveries SET reason = %s WHERE type = 'bare'", (MARK,))
    leak = f"{streams.keys.prefix}:leak"
    streams.client.raw.hset(leak, "of", MARK)
    found = outputs.places_of(MARK)
    streams.client.raw.delete(leak)
    assert found == {"deliveries", "redis"}
    assert outputs.places_of("call_ambiguous") >= {"log"}
    assert outputs.places_of("--queue") >= {"ps"}
    assert outputs.places_of('streamworkers_deliveries_total{channel="telegram"') == {"metrics"}
