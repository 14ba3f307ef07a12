"""The command `users`: who gets notifications, and that nothing goes to one who is disabled."""

from psycopg_pool import ConnectionPool

from bot_stage import BotStage
from command_line import Run
from scheduler.notification_inbox import NotificationInbox
from scheduler.notification_router import NotificationRouter
from streamworkers.config import Settings
from streamworkers.database import Connection, fetch_value
from streamworkers.notifications.store.sending import claim_delivery


def test_users_are_added_once_and_listed(cli: Run) -> None:
    assert cli("users", "add", "ana").out == "added: ana\n"
    assert cli("users", "add", "ana", "--json").json == {"user": "ana", "outcome": "there already"}
    cli("endpoints", "add", "mail", "ana@example.org", "--user", "ana")
    rows = cli("users", "list", "--json").json
    assert [(row["user"], row["endpoints"], row["alerts"], row["disabled_at"]) for row in rows] == [
        ("ana", 1, 0, None),
        ("local", 0, 0, None),
    ]
    assert "ana" in cli("users", "list").out


def test_a_name_that_cannot_be_and_an_unknown_user_are_named(cli: Run) -> None:
    for name in ("", " ana", "a\nb", "x" * 201):
        wrong = cli("users", "add", name)
        assert wrong.code == 2
        assert "is not a name of 1 to 200 printable characters" in wrong.err
    for verb in ("disable", "enable"):
        wrong = cli("users", verb, "anna")
        assert (wrong.code, "no user is named 'anna'" in wrong.err) == (2, True)


def test_nothing_goes_to_a_disabled_user_until_they_are_enabled(
    cli: Run, connection: Connection, pool: "ConnectionPool[Connection]", settings: Settings
) -> None:
    def send(key: str) -> tuple[str, str | None]:
        cli("notify", "local", key, "--key", key)
        NotificationInbox(pool, lambda: None).run_once()
        NotificationRouter(pool, settings).run_once()
        row = connection.execute(
            "SELECT d.state, d.reason FROM deliveries d JOIN delivery_notifications l ON l.delivery_id = d.id"
            " JOIN notifications n ON n.id = l.notification_id WHERE n.dedup_key = %s",
            (key,),
        ).fetchone()
        assert row is not None
        return row[0], row[1]

    cli("endpoints", "add", "mail", "me@example.org")
    assert send("before") == ("queued", None)
    assert cli("users", "disable", "local").out == "disabled: local\n"
    assert cli("users", "disable", "local").out == "disabled already: local\n"
    assert "disabled since " in cli("users", "list").out
    states = connection.execute("SELECT state, reason FROM deliveries").fetchall()
    assert states == [("suppressed", "the user is disabled")]
    assert send("meanwhile") == ("suppressed", "the user is disabled")
    cli("endpoints", "test", "mail")
    test = fetch_value(connection, "SELECT id FROM deliveries WHERE state = 'queued'")
    assert claim_delivery(connection, test, None, test).obstacle == "the user is disabled"
    assert cli("users", "enable", "local").out == "enabled: local\n"
    assert cli("users", "enable", "local").out == "enabled already: local\n"
    assert send("after") == ("queued", None)


def test_the_bot_does_nothing_for_a_disabled_user(cli: Run, connection: Connection, settings: Settings) -> None:
    cli("users", "add", "ann")
    stage = BotStage(connection, settings)
    stage.link()
    assert stage.say("/alerts")
    cli("users", "disable", "ann")
    assert stage.say("/alerts") == ""
    cli("users", "enable", "ann")
    assert stage.say("/alerts")
