"""The commands `endpoints`, `preferences`, `notify` and `notifications`."""

import pytest
from psycopg_pool import ConnectionPool

from command_line import Run
from scheduler.notification_inbox import NotificationInbox
from scheduler.notification_router import NotificationRouter
from streamworkers.config import Settings
from streamworkers.database import Connection, fetch_value


def test_a_notification_from_the_command_to_its_delivery(
    cli: Run, connection: Connection, pool: "ConnectionPool[Connection]", settings: Settings
) -> None:
    """The endpoint is added, the notification written once for its key, routed, listed and shown."""
    assert cli("endpoints", "add", "mail", "me@example.org", "--name", "post").out == "added: post\n"
    for _ in range(2):
        answer = cli("notify", "local", "AAPL fell", "--key", "k", "--title", "Look", "--channel", "mail", "--json")
        assert answer.json == {"user": "local", "dedup_key": "k", "outcome": "accepted"}
    NotificationInbox(pool, lambda: None).run_once()
    (row,) = cli("notifications", "list", "--user", "local", "--type", "message", "--json").json
    assert (row["text"], row["deliveries"]) == ("Look", "not routed")
    assert "no deliveries yet" in cli("notifications", "show", row["id"]).out
    NotificationRouter(pool, settings).run_once()
    assert "mail queued" in cli("notifications", "list").out
    shown = cli("notifications", "show", row["id"], "--json").json
    assert shown["data"] == {"text": "AAPL fell", "title": "Look", "channels": ["mail"]}
    (delivery,) = shown["deliveries"]
    assert (delivery["endpoint"], delivery["state"], delivery["notifications"]) == ("post", "queued", 1)
    plain = cli("notifications", "show", row["id"]).out
    assert "text: AAPL fell" in plain
    assert "post" in plain


def test_what_is_dead_is_sent_again(
    cli: Run, connection: Connection, pool: "ConnectionPool[Connection]", settings: Settings
) -> None:
    """What was sent, or is suppressed, stays."""
    for name in ("one", "two", "three"):
        cli("endpoints", "add", "mail", f"{name}@example.org", "--name", name)
    cli("notify", "local", "AAPL fell")
    NotificationInbox(pool, lambda: None).run_once()
    NotificationRouter(pool, settings).run_once()
    for name, state in (("one", "dead"), ("two", "sent"), ("three", "ambiguous")):
        connection.execute(
            "UPDATE deliveries SET state = %s WHERE endpoint_id = (SELECT id FROM endpoints WHERE name = %s)",
            (state, name),
        )
    found = cli("notifications", "list", "--json").json[0]["id"]
    assert cli("notifications", "retry", found).out == "queued again: 2 of 3 deliveries\n"
    states = connection.execute("SELECT state FROM deliveries ORDER BY state").fetchall()
    assert states == [("queued",), ("queued",), ("sent",)]
    assert cli("notifications", "retry", found, "--json").json == []


def test_rejected_events_are_listed_with_their_reason(cli: Run, connection: Connection) -> None:
    assert cli("notifications", "rejected").out == "no rejected events\n"
    connection.execute(
        "INSERT INTO rejected_notifications (event_id, payload, reason) VALUES (gen_random_uuid(), '[1]', 'no object')"
    )
    assert "no object" in cli("notifications", "rejected").out
    (row,) = cli("notifications", "rejected", "--json").json
    assert (row["reason"], row["payload"]) == ("no object", [1])


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (("telegram", "5"), "no bot: STREAMWORKERS_TELEGRAM_TOKEN is not set"),
        (("mail", "me@example.org"), "no mail: STREAMWORKERS_SMTP_HOST is not set"),
        (("slack", "env:SLACK_URL"), "SLACK_URL is not set in the environment of this process"),
        (
            ("webhook", "https://example.org", "--setting", "secret=env:HOOK_SECRET"),
            "HOOK_SECRET is not set in the environment of this process",
        ),
    ],
)
def test_a_setting_that_a_channel_lacks_here_is_named_when_an_endpoint_is_added(
    cli: Run, connection: Connection, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], missing: str
) -> None:
    variables = {
        "STREAMWORKERS_TELEGRAM_TOKEN": "123456:token",
        "STREAMWORKERS_SMTP_HOST": "127.0.0.1",
        "STREAMWORKERS_SMTP_FROM": "a@example.org",
        "SLACK_URL": "https://example.org/x",
        "HOOK_SECRET": "secret",
    }
    for variable in variables:
        monkeypatch.delenv(variable, raising=False)
    answer = cli("endpoints", "add", *words)
    assert (answer.code, answer.err) == (0, f"warning: {missing}: a worker without it sends nothing\n")
    watchdog = cli("watchdog", "--channel", words[0], "--address", *words[1:])
    assert (watchdog.code, watchdog.err) == (2, f"Error: {missing}\n"), "it sends itself"
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert cli("endpoints", "remove", words[0]).code == 0
    assert cli("endpoints", "add", *words).err == ""


def test_endpoints_are_listed_switched_tested_and_removed(cli: Run, connection: Connection) -> None:
    """A webhook's address is shown without what is secret in it."""
    assert "user local has no endpoint" in cli("endpoints", "list").out
    cli("endpoints", "add", "mail", "me@example.org")
    assert cli("endpoints", "test", "mail").out == "test queued: mail\n"
    assert fetch_value(connection, "SELECT content ->> 'title' FROM deliveries") == "Test"
    assert cli("endpoints", "off", "mail", "--reason", "on holiday").out == "off: mail\n"
    (row,) = cli("endpoints", "list", "--json").json
    assert (row["name"], row["state"], row["created_by"]) == ("mail", "off: on holiday", "cli:local")
    assert fetch_value(connection, "SELECT reason FROM deliveries") == "its endpoint is off: on holiday"
    assert cli("endpoints", "on", "mail", "--json").json == {"name": "mail", "outcome": "on"}
    assert " on " in cli("endpoints", "list").out
    assert cli("endpoints", "remove", "mail").out == "removed: mail\n"


def test_an_endpoint_that_is_not_verified_gets_a_code(cli: Run, connection: Connection) -> None:
    cli("endpoints", "add", "mail", "me@example.org")
    connection.execute("UPDATE endpoints SET verified_at = NULL")
    assert "not verified" in cli("endpoints", "list").out
    assert cli("endpoints", "verify", "mail").out == "code sent: mail\n"
    code = fetch_value(connection, "SELECT split_part(content #>> '{lines,0}', ' ', 1) FROM deliveries")
    wrong = cli("endpoints", "verify", "mail", "wrong")
    assert (wrong.code, "this is not the code" in wrong.err) == (2, True)
    assert cli("endpoints", "verify", "mail", code).out == "verified: mail\n"


def test_preferences_are_set_shown_and_removed(cli: Run) -> None:
    assert "no preferences: everything comes at once\nquiet hours: none" in cli("preferences", "show").out
    cli("preferences", "set", "digest", "--type", "alert_fired", "--at", "18:00", "--zone", "America/New_York")
    cli("preferences", "set", "digest", "--channel", "mail", "--every", "30")
    assert cli("preferences", "set", "off", "--type", "data_gap").out == "off: type data_gap on channel *\n"
    answer = cli("preferences", "quiet", "22:00-07:00", "--zone", "Australia/Lord_Howe")
    assert answer.out == "quiet hours: 22:00 to 07:00, Australia/Lord_Howe\n"
    shown = cli("preferences", "show", "--json").json
    assert [(row["type"], row["channel"], row["mode"], row["digest_at"]) for row in shown["preferences"]] == [
        ("*", "mail", "digest", None), ("alert_fired", "*", "digest", "18:00"), ("data_gap", "*", "off", None),
    ]  # fmt: skip
    assert shown["quiet_hours"] == {"starts": "22:00", "ends": "07:00", "zone": "Australia/Lord_Howe"}
    plain = cli("preferences", "show").out
    assert "at 18:00 America/New_York" in plain
    assert "every 30 min" in plain
    assert cli("preferences", "set", "default", "--type", "data_gap", "--json").json["mode"] == "default"
    assert cli("preferences", "quiet", "off", "--json").json is None
    shown = cli("preferences", "show", "--json").json
    assert (len(shown["preferences"]), shown["quiet_hours"]) == (2, None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("endpoints add pigeon x", "no channel is named 'pigeon'"),
        ("endpoints add mail nobody", "nobody"),
        ("endpoints list --user ana", "no user is named 'ana'; known: local"),
        ("endpoints test phone", "no endpoint is named 'phone'; there is no endpoint yet"),
        ("notify ana hello", "no user is named 'ana'; known: local"),
        ("notify local hello --channel mial", "no channel is named 'mial'; did you mean 'mail'?"),
        ("notify local hello --type Wrong", "type 'Wrong' is not a name of 1 to 64 small letters"),
        ("notifications show 00000000-0000-0000-0000-000000000001", "no notification has the id 00000000-0000"),
        ("notifications retry 00000000-0000-0000-0000-000000000001", "no notification has the id 00000000-0000"),
        ("preferences show --user ana", "no user is named 'ana'; known: local"),
        ("preferences set off --type run_fialed", "no type of notification is named 'run_fialed'; did you mean"),
        ("preferences set off --channel pigeon", "no channel is named 'pigeon'"),
        ("preferences set digest --at 18:00", "a local time needs a zone, such as America/New_York: none is assumed"),
        ("preferences set digest --at 25:00 --zone UTC", "'25:00' is not a local time of hours and minutes"),
        ("preferences set default --every 5", "default removes a preference, and has no time of a digest"),
        ("preferences quiet 22:00-07:00", "a local time needs a zone, such as America/New_York: none is assumed"),
        ("preferences quiet 22-7 --zone UTC", "'22-7' is neither two local times, such as 22:00-07:00, nor off"),
        ("preferences quiet 22:00-24:00 --zone UTC", "'24:00' is not a local time of hours and minutes"),
    ],
)
def test_wrong_words_are_named_with_their_rule(cli: Run, connection: Connection, line: str, message: str) -> None:
    del connection
    answer = cli(*line.split())
    assert answer.code == 2
    assert message in " ".join(answer.err.split())
