"""The loop that polls, against a fake Bot API: one of many, what it does when it is turned away, and when it ends."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from psycopg_pool import ConnectionPool
from pydantic import SecretStr

from bot_stage import ANN, BotStage
from harness import wait_until
from patience import patient
from streamworkers.alerts.store.alerts import list_alerts
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.notifications.channels.telegram_api import TelegramApi
from streamworkers.telegram.handling import Handled
from streamworkers.telegram.metrics import BotMetrics
from streamworkers.telegram.poller import BadTokenError, Poller
from streamworkers_fakes.telegram import DEFAULT_TOKEN, RunningFakeBotApi, running_fake_bot_api

StartPoller = Callable[..., Poller]


@pytest.fixture
def api() -> Iterator[RunningFakeBotApi]:
    """A fake Bot API on a free port."""
    with running_fake_bot_api() as server:
        yield server


@pytest.fixture
def start(
    api: RunningFakeBotApi, settings: Settings, pool: "ConnectionPool[Connection]", streams: Streams
) -> Iterator[StartPoller]:
    """Start a poller; all are stopped in the end."""
    with _pollers(api, settings, pool, streams) as start_one:
        yield start_one


@contextmanager
def _pollers(
    api: RunningFakeBotApi, settings: Settings, pool: "ConnectionPool[Connection]", streams: Streams
) -> Iterator[StartPoller]:
    started: list[Poller] = []
    clients: list[TelegramApi] = []

    def start_one(name: str = "one", token: str = DEFAULT_TOKEN, handled: list[Handled] | None = None) -> Poller:
        client = TelegramApi(SecretStr(token), api.url)
        clients.append(client)
        deliver = (lambda _: None) if handled is None else handled.append
        poller = Poller(client, settings, pool, streams.leases, name, deliver, BotMetrics())
        started.append(poller)
        poller.start()
        return poller

    try:
        yield start_one
    finally:
        for poller in started:
            poller.stop()
        for poller in started:
            poller.join(patient(30))
        for client in clients:
            client.close()


@pytest.fixture
def linked(stage: BotStage, connection: Connection, api: RunningFakeBotApi) -> BotStage:
    """Ann is linked with the bot of the fake."""
    bot_id = int(DEFAULT_TOKEN.partition(":")[0])
    stage.link()
    connection.execute("UPDATE telegram_links SET bot_id = %s", (bot_id,))
    return stage


def _polls(poller: Poller, outcome: str) -> float:
    return float(poller._metrics.polls.labels(outcome)._value.get())


def test_messages_are_handled_in_their_order(
    start: StartPoller, linked: BotStage, api: RunningFakeBotApi, connection: Connection
) -> None:
    handled: list[Handled] = []
    for text in ("/alert AAPL > 1", "/alert AAPL > 2", "hello", "/alert AAPL > 3"):
        api.fake.say(text, user=ANN)
    start(handled=handled)
    wait_until(lambda: len(handled) == 4, what="four updates are handled")
    assert [each.outcome for each in handled] == ["done", "done", "rejected", "done"]
    rules = [each.document["rule"]["value"] for each in sorted(list_alerts(connection, "ann"), key=lambda a: a.id)]
    assert rules == [1, 2, 3]
    assert {each["command"] for each in api.fake.commands} >= {"alert", "help", "start"}
    wait_until(lambda: not api.fake.pending(None, 1), what="the next poll confirms them")


def test_of_two_pollers_one_polls_and_the_other_takes_its_place(
    start: StartPoller, linked: BotStage, api: RunningFakeBotApi, connection: Connection
) -> None:
    first = start("one")
    wait_until(lambda: first.state.is_polling, what="the first polls")
    second = start("two")
    api.fake.say("/alert AAPL > 1", user=ANN)
    wait_until(lambda: len(list_alerts(connection, "ann")) == 1, what="the command is executed")
    assert (first.state.is_polling, second.state.is_polling) == (True, False)
    first.stop()  # without a word to the others, as one that was killed
    first.join(patient(30))
    api.fake.say("/alert AAPL > 2", user=ANN)
    wait_until(lambda: len(list_alerts(connection, "ann")) == 2, what="the second polls")
    assert second.state.is_polling
    assert _polls(first, "conflict") + _polls(second, "conflict") == 0
    assert not [call for call in api.calls if call.status == 409]


def test_an_orderly_end_gives_the_lease_back(start: StartPoller, settings: Settings, streams: Streams) -> None:
    first = start("one")
    wait_until(lambda: first.state.is_polling, what="it polls")
    first.stop()
    first.join(patient(30))
    first.release()
    wait_until(lambda: streams.leases.read_service_lease_ms(first._lease) == 0, 1.0, "the lease is free")


def test_while_another_program_polls_it_stands_by(start: StartPoller, api: RunningFakeBotApi) -> None:
    api.plan("conflict,method=getUpdates")
    poller = start()
    wait_until(lambda: poller.state.conflict_seconds is not None, what="the conflict is known")
    assert not poller.state.is_polling
    assert "409" in str(poller.state.error)
    wait_until(lambda: poller._conflicts == 1, what="the next pause is twice as long")
    api.fake.plans.clear()
    wait_until(lambda: poller.state.is_polling, what="it polls again")
    assert (poller.state.conflict_seconds, poller.state.error) == (None, None)


@pytest.mark.parametrize("token", ["1:another", DEFAULT_TOKEN])
def test_a_bad_token_ends_it(start: StartPoller, api: RunningFakeBotApi, token: str) -> None:
    if token == DEFAULT_TOKEN:
        api.plan("unauthorized,method=getMe")
    poller = start(token=token)
    poller.join(patient(60))
    assert not poller.is_alive()
    assert isinstance(poller.fatal, BadTokenError)
    assert str(poller.fatal) == (
        "Telegram answered 401: Unauthorized: STREAMWORKERS_TELEGRAM_TOKEN is not the token of a bot"
    )


def test_failures_of_telegram_are_passed(
    start: StartPoller, linked: BotStage, api: RunningFakeBotApi, connection: Connection
) -> None:
    for plan in (
        "server_error,method=getMe,calls=1",
        "not_json,method=getUpdates,calls=1",
        "drop,method=getUpdates,calls=1",
    ):
        api.plan(plan)
    api.fake.say("/alert AAPL > 1", user=ANN)
    poller = start()
    wait_until(lambda: len(list_alerts(connection, "ann")) == 1, what="the command is executed")
    assert _polls(poller, "failed") == 3


def test_500_pending_updates_of_three_hours_ago_change_nothing(
    start: StartPoller, linked: BotStage, api: RunningFakeBotApi, connection: Connection
) -> None:
    then = time.time() - 3 * 3600 - 10
    for number in range(500):
        api.fake.say(f"/alert AAPL > {number + 1}", user=ANN, sent_at=then)
    handled: list[Handled] = []
    start(handled=handled)
    wait_until(lambda: len(handled) == 500, 60, "all are handled")
    assert list_alerts(connection, "ann") == []
    counts = {outcome: sum(each.outcome == outcome for each in handled) for outcome in ("old", "limited", "ignored")}
    assert counts["old"] > 0
    assert sum(counts.values()) == 500
