"""What the bot does for a linked person: the effects of each command, and what it answers."""

from datetime import timedelta
from typing import Any

import pytest

from bot_stage import ANN, BotStage
from streamworkers.actor import Actor
from streamworkers.alerts.store.alerts import list_alerts
from streamworkers.alerts.store.changes import pause_alert
from streamworkers.database import Connection, fetch_value
from streamworkers.notifications.store.endpoints import close_endpoint, list_endpoints
from streamworkers.telegram.commands import LATER_WORDS, WORDS
from streamworkers.telegram.help_commands import list_bot_commands
from streamworkers.telegram.store.links import list_links


@pytest.fixture
def ann(stage: BotStage) -> BotStage:
    """The bot with ann linked in her private chat."""
    stage.link()
    return stage


def _add(stage: BotStage, text: str = "/alert AAPL > 150 day") -> int:
    title = stage.say(text).split("\n")[0]
    assert title.startswith("Alert ")
    return int(title.split()[1])


def _age(connection: Connection, table: str, column: str, seconds: float) -> None:
    """Let time pass for the rows of a table."""
    connection.execute(f"UPDATE {table} SET {column} = {column} - %s".encode(), (timedelta(seconds=seconds),))


def test_an_alert_is_added_by_the_bot_in_the_users_name(ann: BotStage, connection: Connection) -> None:
    answer = ann.say("/alert AAPL rsi(14) < 30 and price crosses_above sma(50) 1h once")
    (stored,) = list_alerts(connection, "ann")
    assert answer.split("\n")[:2] == [
        f"Alert {stored.id} added",
        "AAPL rsi(14) < 30 and price crosses_above sma(50) hour once",
    ]
    assert fetch_value(connection, "SELECT created_by FROM alerts") == "bot:ann"
    assert list_alerts(connection, "bob") == []


def test_without_a_timeframe_it_is_the_narrowest_that_is_stored(ann: BotStage, connection: Connection) -> None:
    assert "AAPL price > 150 day" in ann.say("/alert AAPL > 150")
    assert "no bars of this symbol are stored in the timeframe day" in ann.say("/alert AAPL > 150")
    connection.execute(
        "INSERT INTO ohlcv_hourly (symbol, timestamp, open, high, low, close, volume)"
        " VALUES ('AAPL', '2026-01-05 15:00Z', 1, 1, 1, 1, 1)"
    )
    answer = ann.say("/alert AAPL > 150")
    assert "AAPL price > 150 hour" in answer
    assert "no bars" not in answer


def test_a_wrong_text_is_answered_with_the_place(ann: BotStage) -> None:
    assert ann.say("/alert AAPL > 15x") == (
        "Not done\ncolumn 15: '15x' is no number: it may end with k, m or b\n  /alert AAPL > 15x\n                ^"
    )
    assert ann.say("/alert AAPL > nothing").split("\n")[1].startswith("column 15: no field is named 'nothing'")


def test_alerts_are_paused_resumed_muted_snoozed_and_listed(ann: BotStage, connection: Connection) -> None:
    number = _add(ann)
    assert ann.say(f"/pause {number}").startswith(f"Alert {number} paused")
    assert ann.say(f"/alert {number}") == f"Alert {number}\nAAPL price > 150 day\nalert-{number}: paused"
    assert ann.say(f"/resume {number}").startswith(f"Alert {number} resumed")
    assert ann.say(f"/mute {number} 2h") == f"Alert {number} muted for 2h"
    assert ann.say(f"/mute {number}") == f"Alert {number} muted until /unmute"
    assert ann.say("/alerts").endswith("armed, muted")
    assert ann.say(f"/unmute {number}") == f"Alert {number} unmuted"
    assert ann.say(f"/unmute {number}") == f"Alert {number} was not muted"
    assert ann.say(f"/snooze {number} 1h") == f"Alert {number} snoozed for AAPL for 1h"
    assert "symbol of alert" in ann.say(f"/snooze {number} 1h MSFT")
    assert ann.say("/alerts MSFT").startswith("No alerts about MSFT")
    assert ann.say("/alerts AAPL").startswith("1 alert\n")
    muted = connection.execute("SELECT symbol, created_by FROM alert_mutes ORDER BY id").fetchall()
    assert muted == [(None, "bot:ann"), (None, "bot:ann"), ("AAPL", "bot:ann")]


def test_an_alert_of_somebody_else_is_none(ann: BotStage, connection: Connection) -> None:
    number = _add(ann)
    ann.link(1002, "bob")
    for word in ("alert", "pause", "resume", "unmute", "delete"):
        assert ann.say(f"/{word} {number}", 1002) == f"Not done\nuser 'bob' has no alert {number}"
    assert ann.press(f"alert:mute:{number}", 1002) == f"Not done\nuser 'bob' has no alert {number}"
    assert fetch_value(connection, "SELECT count(*) FROM alert_mutes") == 0


def test_delete_asks_and_a_button_works_once(ann: BotStage, connection: Connection) -> None:
    number = _add(ann)
    asked = ann.handle(ann.message(f"/delete {number}"))
    assert ann.answer(asked).startswith(f"Delete alert {number}?")
    assert len(list_alerts(connection, "ann")) == 1
    button = ann.button(asked)
    assert ann.press(button).startswith(f"Alert {number} deleted")
    assert list_alerts(connection, "ann") == []
    assert ann.press(button) == "Already done"
    assert ann.say(f"/delete {number}") == f"Not done\nuser 'ann' has no alert {number}"


def test_two_questions_about_one_alert_delete_it_once(ann: BotStage) -> None:
    number = _add(ann)
    first, second = (ann.button(ann.handle(ann.message(f"/delete {number}"))) for _ in range(2))
    assert ann.press(first).startswith(f"Alert {number} deleted")
    assert ann.press(second) == f"Not done\nuser 'ann' has no alert {number}"


def test_a_button_is_too_late_after_a_minute_and_is_the_askers(ann: BotStage, connection: Connection) -> None:
    number = _add(ann)
    button = ann.button(ann.handle(ann.message(f"/delete {number}")))
    ann.link(1002, "bob")
    assert ann.press(button, 1002) == "This button is not yours, or too old"
    _age(connection, "telegram_confirmations", "expires_at", 61)
    assert ann.press(button) == "Too late: the button was good for 60 s, so ask again"
    assert len(list_alerts(connection, "ann")) == 1


def test_buttons_below_a_firing_snooze_mute_and_show(ann: BotStage, connection: Connection) -> None:
    number = _add(ann)
    assert ann.press(f"alert:snooze:{number}:AAPL") == f"Alert {number} snoozed for AAPL for 1h"
    assert ann.press(f"alert:mute:{number}") == f"Alert {number} muted until /unmute"
    assert ann.press(f"alert:show:{number}").startswith(f"Alert {number}\nAAPL price > 150 day")
    for data in ("alert:pause:1", "alert:mute:x", "alert:mute", "confirm:1", "", "x" * 64, f"alert:snooze:{number}"):
        assert ann.press(data) == "Not done\nthis button is of another release: send a command instead"


def test_quiet_hours_digests_and_stop(ann: BotStage, connection: Connection) -> None:
    assert ann.say("/quiet") == "No quiet hours"
    assert ann.say("/quiet 22:00-07:00 America/New_York").startswith("Quiet from 22:00 to 07:00, America/New_York")
    assert ann.say("/quiet").startswith("Quiet from 22:00 to 07:00, America/New_York")
    assert ann.say("/quiet off") == "No quiet hours"
    assert ann.say("/digest on").startswith("Messages are collected, and come every 60 min")
    assert ann.say("/digest off") == "Each message comes at once"
    rows = connection.execute("SELECT user_id, type, channel, mode FROM notification_preferences").fetchall()
    assert rows == [("ann", "*", "telegram", "instant")]


def test_stop_ends_messages_to_this_chat_and_start_brings_them_back(ann: BotStage, connection: Connection) -> None:
    ann.link(1005, "ann")
    assert ann.say("/stop").startswith("No more messages to this chat\nNo bot and no job stops")
    assert [each.is_usable for each in list_endpoints(connection, "ann")] == [False, True]
    states = connection.execute("SELECT DISTINCT state FROM deliveries WHERE content ->> 'title' ~ 'No more'")
    assert states.fetchall() == [("queued",)], "the answer itself is sent"
    assert ann.say("/help").startswith("Commands"), "commands are answered all the same"
    assert [each.is_usable for each in list_endpoints(connection, "ann")] == [False, True]
    assert ann.say("/start").startswith("Linked with user ann")
    assert [each.is_usable for each in list_endpoints(connection, "ann")] == [True, True]


def test_a_chat_that_telegram_closed_is_open_again_when_its_person_writes(
    ann: BotStage, connection: Connection
) -> None:
    (endpoint,) = list_endpoints(connection, "ann")
    close_endpoint(connection, endpoint.id, "blocked")
    assert ann.say("/help").startswith("Commands")
    assert [each.is_usable for each in list_endpoints(connection, "ann")] == [True]


def test_an_update_that_cannot_be_handled_holds_up_nobody(
    ann: BotStage, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("streamworkers.telegram.handling.require_endpoint", lambda *_: 1 / 0)
        update = ann.message("/alert AAPL > 150")
        assert ann.handle(update).outcome == "failed"
    assert list_alerts(connection, "ann") == [], "what has no answer has no effect"
    assert ann.handle(update).outcome == "repeated"


def test_commands_of_the_pool_need_the_scope(ann: BotStage, connection: Connection) -> None:
    for word in ("runs", "run 1", "schedule", "status", "health"):
        assert ann.say(f"/{word}").startswith(f"/{word.split()[0]} is not for you\nIt needs the scope ops")
    ann.link(ANN, "ann", None, "ops")
    assert ann.say("/runs") == "No runs yet"
    assert ann.say("/run 1") == "Not done\nthere is no run 1"
    assert ann.say("/schedule") == "No schedules"
    assert ann.say("/status").startswith("Status\nno process runs")
    connection.execute("INSERT INTO health_checks (component, status, message) VALUES ('redis', 'ok', 'fine')")
    connection.execute("INSERT INTO health_checks (component, status, message) VALUES ('queues', 'critical', 'old')")
    assert ann.say("/health").split("\n")[:3] == ["Health: critical", "queues: critical, old", "redis: ok, fine"]


def test_help_lists_what_the_person_may_do(ann: BotStage) -> None:
    mine = ann.say("/help").split("\n")[1:]
    assert [line.split()[0].rstrip(":") for line in mine] == [
        f"/{name}" for name, word in WORDS.items() if word.scope is None
    ]
    assert ann.say("/help status") == "/status\nqueues and processes\nIt needs the scope ops."
    for word in LATER_WORDS:
        assert ann.say(f"/{word} 3").startswith(f"/{word} is not in this release")
    assert not LATER_WORDS & {each["command"] for each in list_bot_commands()}
    assert all(len(each["description"]) <= 256 for each in list_bot_commands())


def test_twenty_commands_a_minute(ann: BotStage, connection: Connection) -> None:
    _age(connection, "telegram_updates", "handled_at", 61)
    assert all(ann.say("/quiet") == "No quiet hours" for _ in range(20))
    assert ann.say("/alert AAPL > 150") == "More than 20 commands in a minute: wait a little"
    assert ann.say("/alert AAPL > 150") == ""
    assert list_alerts(connection, "ann") == []
    _age(connection, "telegram_updates", "handled_at", 61)
    assert ann.say("/quiet") == "No quiet hours"


@pytest.mark.parametrize("text", ["hello", "/start"])
def test_whatever_is_answered_counts_as_a_command(ann: BotStage, text: str) -> None:
    for _ in range(20):
        assert ann.handle(ann.message(text)).answers
    _age(
        ann.connection, "telegram_updates", "handled_at", -3600
    )  # so that none is a minute old, however long they took
    outcomes = [ann.handle(ann.message(text)).outcome for _ in range(2)]
    assert outcomes == ["limited", "ignored"]


def test_old_messages_change_nothing_and_are_answered_if_they_only_read(ann: BotStage, connection: Connection) -> None:
    number = _add(ann)
    three_hours = 3 * 3600 + 10
    for text in ("/alert MSFT > 1", f"/pause {number}", f"/mute {number}", "/stop", "/digest on", f"/delete {number}"):
        assert ann.say(text, age=three_hours) == "Sent 3 h ago, so nothing was done: send it again"
    assert ann.say("/stop", age=400) == "Sent 7 min ago, so nothing was done: send it again"
    assert ann.say("/alerts", age=three_hours).startswith("1 alert")
    assert ann.say(f"/alert {number}", age=three_hours).startswith(f"Alert {number}")
    assert [each.paused_at for each in list_alerts(connection, "ann")] == [None]
    assert fetch_value(connection, "SELECT count(*) FROM notification_preferences") == 0


def test_a_failing_command_changes_nothing_and_says_so(ann: BotStage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: Connection, *_: Any) -> None:
        pause_alert(connection, Actor("ann"), f"alert-{number}")
        connection.execute("SELECT 1 / 0")

    number = _add(ann)
    monkeypatch.setattr("streamworkers.telegram.alert_commands.changes.pause_alert", fail)
    assert ann.say(f"/pause {number}").startswith("That did not work\nNothing was changed")
    assert "paused" not in ann.say("/alerts")


def test_a_slow_command_ends(ann: BotStage, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(connection: Connection, *_: Any) -> None:
        connection.execute("SET LOCAL statement_timeout = '50ms'")
        connection.execute("SELECT pg_sleep(60)")

    monkeypatch.setattr("streamworkers.telegram.settings_commands.set_quiet_hours", wait)
    assert ann.say("/quiet off").startswith("That took longer than 2 s\nNothing was changed.")
    assert [each.user for each in list_links(connection)] == ["ann"]
