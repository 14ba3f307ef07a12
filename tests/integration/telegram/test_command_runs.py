"""Commands that take long: the bot answers with a run, and the run writes one second message."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool
from pydantic import SecretStr

from bot_stage import ANN, BotStage
from consumer import Consumer
from streamworkers.alerts.store.alerts import list_alerts
from streamworkers.config import Settings
from streamworkers.database import Connection, fetch_rows, fetch_value
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.loading.providers.provider import BarOrigin
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.loading.store import load_unreal
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.notifications import drawing
from streamworkers.notifications.delivery.sender import open_sender
from streamworkers.notifications.store.answers import PROMISED_WITHIN, list_due_answers
from streamworkers.telegram import handling
from streamworkers_fakes.telegram import DEFAULT_TOKEN, FakeBotApi, running_fake_bot_api
from submitting import install_jobs, make_preparer, submit

Execute = Callable[[], None]
RUN, NEVER = "SELECT count(*) FROM runs", "Nothing has come of"


@pytest.fixture
def ann(stage: BotStage, registry: Registry) -> BotStage:
    """Ann is linked, and a process of the pool has recorded the jobs."""
    install_jobs(stage.connection, registry)
    stage.link()
    stage.connection.execute("UPDATE deliveries SET state = 'sent'")
    return stage


@pytest.fixture
def symbol(connection: Connection) -> str:
    """A symbol with bars of days."""
    rows = generate_bars(1, 200, 1, date(2026, 1, 5))
    (name,) = load_unreal(connection, TIMEFRAMES["day"], rows, BarOrigin.INVENTED).symbols
    return name


@pytest.fixture
def execute(pool: "ConnectionPool[Connection]", streams: Streams, registry: Registry, consumer: Consumer) -> Execute:
    """Prepare and execute the runs that the bot has started, whose numbers it has sent."""

    def execute_all() -> None:
        consumer.connection.execute(
            "UPDATE deliveries SET state = 'sent' WHERE content ->> 'title' NOT LIKE %s", (f"{NEVER}%",)
        )
        make_preparer(pool, streams, registry).run_once()
        consumer.work_until_empty("notify")

    return execute_all


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are words, as without the extra, which costs less."""
    monkeypatch.setattr(drawing, "find_spec", lambda _: None)


def _waiting(connection: Connection) -> list[dict[str, Any]]:
    """Answers that are not sent: the title, the lines, whether there is a picture, and whether they are due."""
    rows = fetch_rows(
        connection,
        "SELECT id, content, picture, not_before <= clock_timestamp() AS is_due FROM deliveries"
        " WHERE state = 'queued' ORDER BY created_at",
    )
    return [{"title": row["content"]["title"], "lines": row["content"].get("lines", ()), **row} for row in rows]


def _promised(connection: Connection) -> dict[str, Any]:
    (found,) = [each for each in _waiting(connection) if each["title"].startswith(NEVER)]
    return found


def test_a_chart_is_drawn_by_a_run_and_sent_once(
    ann: BotStage, symbol: str, execute: Execute, settings: Settings, streams: Streams
) -> None:
    connection = ann.connection
    ann.say(f"/alert {symbol} > 230 day")
    ann.say(f"/alert {symbol} price crosses_above sma(50) or rsi(14) < 30 day")
    connection.execute("UPDATE deliveries SET state = 'sent'")
    update = ann.message(f"/chart {symbol}")
    assert ann.answer(ann.handle(update)) == f"Drawing {symbol}, day: run 1"
    assert ann.handle(update).outcome == "repeated"
    assert not _promised(connection)["is_due"]
    execute()
    assert fetch_value(connection, RUN) == 1
    (chart,) = _waiting(connection)
    first, second = (each.id for each in sorted(list_alerts(connection, "ann"), key=lambda each: each.id))
    assert (chart["title"], chart["is_due"], chart["picture"][:4]) == (f"{symbol}, day", True, b"\x89PNG")
    assert chart["lines"][0].startswith("close ")
    assert chart["lines"][0].endswith("120 bars from 2025-07-16 to 2026-01-05")
    assert chart["lines"][1:] == [
        f"{first}: {symbol} price > 230 day",
        f"{second}: {symbol} price crosses_above sma(50) or rsi(14) < 30 day",
    ]
    with running_fake_bot_api(FakeBotApi(limits=None)) as api:
        own = {"telegram_url": api.url, "telegram_token": SecretStr(DEFAULT_TOKEN)}
        sender = open_sender(settings.model_copy(update=own), streams.client)
        for _ in range(2):
            sender.send(connection, list_due_answers(connection, 10))
        sender.close()
        (call,) = api.sent
    assert (call.method, call.chat, call.photo_bytes) == ("sendPhoto", str(ANN), len(chart["picture"]))


@pytest.mark.usefixtures("no_pictures")
def test_without_the_extra_the_chart_is_words(ann: BotStage, symbol: str, execute: Execute) -> None:
    ann.say(f"/chart {symbol} 1d")
    execute()
    chart = _waiting(ann.connection)[-1]
    assert chart["picture"] is None
    assert chart["lines"][1:] == [
        "No alert of yours is about it.",
        "Without a picture: the worker lacks the extra `charts` (pip install 'streamworkers[charts]').",
    ]


def test_what_cannot_be_drawn_starts_no_run(ann: BotStage, symbol: str) -> None:
    assert ann.say("/chart NONE") == "Not done\nno bars of NONE are stored"
    assert ann.say(f"/chart {symbol} 1h") == f"Not done\nno hour bars of {symbol} are stored, but there are day"
    ann.connection.execute("DELETE FROM job_types")
    nobody = "no worker does this: it needs `streamworkers worker --queue notify=1`"
    assert ann.say(f"/chart {symbol}") == f"Not done\n{nobody}"
    assert fetch_value(ann.connection, RUN) == 0
    assert not [each for each in _waiting(ann.connection) if each["title"].startswith(NEVER)]


@pytest.mark.usefixtures("no_pictures")
def test_three_runs_of_a_user_at_once(ann: BotStage, symbol: str, execute: Execute) -> None:
    for number in range(3):
        assert ann.say(f"/chart {symbol}").endswith(f"run {number + 1}")
    assert ann.say(f"/chart {symbol}") == "Not done\n3 runs for you have not ended yet: wait for their answers"
    execute()
    assert ann.say(f"/chart {symbol}").endswith("run 4")


def test_bars_that_go_before_the_run_are_answered(ann: BotStage, symbol: str, execute: Execute) -> None:
    ann.say(f"/chart {symbol}")
    ann.connection.execute("DELETE FROM ohlcv_daily")
    execute()
    assert _waiting(ann.connection)[-1]["lines"] == [f"no closed day bars of {symbol} are stored"]


@contextmanager
def _alerts_locked(url: str) -> Iterator[None]:
    """Nobody can read or write alerts, so that a command about them takes long."""
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE alerts IN ACCESS EXCLUSIVE MODE")
        yield


def test_a_slow_command_becomes_a_run_and_has_its_effect_once(
    ann: BotStage, execute: Execute, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handling, "STATEMENT_SECONDS", 1)
    with _alerts_locked(database_url):
        assert ann.say("/alert AAPL > 150 day") == "/alert takes longer: started, run 1"
        slow = ann.say("/delete 1").split("\n")
    assert slow[:2] == ["That took longer than 1 s", "Nothing was changed."]
    assert list_alerts(ann.connection, "ann") == []
    execute()
    (stored,) = list_alerts(ann.connection, "ann")
    answers = [each["title"] for each in _waiting(ann.connection) if each["is_due"]]
    assert answers == [f"Alert {stored.id} added"]
    assert fetch_value(ann.connection, "SELECT created_by FROM alerts") == "bot:ann"


def test_a_run_of_a_command_may_do_what_its_chat_may(ann: BotStage, execute: Execute) -> None:
    answer = ann.handle(ann.message("/help")).answers[0]
    ann.connection.execute("UPDATE deliveries SET state = 'sent'")
    for text in ("/runs", "/alert 12", "/alert"):
        words = {"user": "ann", "text": text, "answer": str(answer)}
        submit(ann.connection, "bot_command", items=["command"], parameters=words)
    execute()
    lines = sorted(each["lines"][0] for each in _waiting(ann.connection))
    assert lines[0].startswith("column 7: expected a rule")
    assert lines[1:] == ["it needs the scope ops", "user 'ann' has no alert 12"]


@pytest.mark.usefixtures("no_pictures")
def test_a_run_that_names_another_user_writes_nothing_into_an_answer(
    ann: BotStage, symbol: str, execute: Execute
) -> None:
    ann.say(f"/chart {symbol}")
    words = {"user": "bob", "answer": str(_promised(ann.connection)["id"])}
    ann.connection.execute("UPDATE runs SET status = 'CANCELLED'")
    submit(ann.connection, "chart", items=[symbol], timeframe="day", parameters=words)
    submit(ann.connection, "bot_command", items=["command"], parameters={**words, "text": f"/alert {symbol} > 1"})
    execute()
    assert _promised(ann.connection)["picture"] is None
    assert len(_waiting(ann.connection)) == 1
    assert list_alerts(ann.connection, "bob") == []


@pytest.mark.usefixtures("no_pictures")
def test_without_a_run_the_chat_learns_that_nothing_came_and_a_late_result_comes_too(
    ann: BotStage, symbol: str, execute: Execute
) -> None:
    connection = ann.connection
    ann.say(f"/chart {symbol}")
    promised = _promised(connection)
    assert promised["title"] == f"Nothing has come of the chart of {symbol}"
    assert promised["lines"] == ["Its run has not ended within 10 min. If it still does, the answer comes then."]
    connection.execute("UPDATE deliveries SET not_before = not_before - %s", (PROMISED_WITHIN,))
    assert promised["id"] in list_due_answers(connection, 10)
    connection.execute("UPDATE deliveries SET state = 'sent', parts = '[]'")
    execute()
    (late,) = _waiting(connection)
    assert (late["title"], late["is_due"]) == (f"{symbol}, day", True)


@pytest.mark.usefixtures("no_pictures")
def test_what_was_asked_before_forget_is_not_sent(ann: BotStage, symbol: str, execute: Execute) -> None:
    ann.say(f"/chart {symbol}")
    ann.press(ann.button(ann.handle(ann.message("/forget"))))
    execute()
    states = fetch_rows(
        ann.connection, "SELECT DISTINCT state, content IS NULL AS is_erased FROM deliveries WHERE state <> 'sent'"
    )
    assert states == [{"state": "suppressed", "is_erased": True}]
    assert fetch_value(ann.connection, "SELECT status FROM runs") == "COMPLETED"
