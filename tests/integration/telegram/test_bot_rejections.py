"""What the bot changes for a person, and what it rejects, has rows in the audit log."""

from bot_stage import BotStage
from streamworkers.actor import Actor
from streamworkers.database import Connection
from streamworkers.telegram.commands import WORDS
from streamworkers.telegram.rejections import ACTIONS_OF_WORDS, note_rejected
from streamworkers.telegram.store.links import Place, add_link, remove_link


def test_a_command_that_is_rejected_has_a_row(stage: BotStage, connection: Connection) -> None:
    stage.link()
    title = stage.say("/pause 99").split("\n")[0]
    statement = "SELECT actor_user, object_id, outcome, reason FROM audit_log WHERE action = 'alert.pause'"
    assert connection.execute(statement).fetchall() == [("ann", "99", "rejected", title)]


def test_links_of_chats_have_rows(connection: Connection) -> None:
    connection.execute("INSERT INTO users (id) VALUES ('ann') ON CONFLICT DO NOTHING")
    with connection.transaction():
        link = add_link(connection, Actor("ann", "bot"), Place(1, 2, 3), ("ops",), None)
        remove_link(connection, Actor("ann"), link)
    statement = (
        "SELECT action, actor_kind, object_id, before, after FROM audit_log WHERE object_type = 'link' ORDER BY id"
    )
    scopes = {"scopes": ["ops"]}
    assert connection.execute(statement).fetchall() == [
        ("link.add", "bot", "ann", None, scopes),
        ("link.remove", "cli", "ann", scopes, None),
    ]


def test_a_rejected_word_of_the_bot_has_a_row_if_it_changes_something(connection: Connection) -> None:
    assert ACTIONS_OF_WORDS.keys() <= WORDS.keys()
    for text, word, outcome in (
        ("/alert AAPL >", "alert", "rejected"),
        ("/pause 9", "pause", "failed"),
        ("/stop", "stop", "old"),
        ("/alert 9", "alert", "rejected"),
        ("/quiet", "quiet", "rejected"),
        ("/runs", "runs", "rejected"),
        ("/mute 9", "mute", "done"),
    ):
        note_rejected(connection, "ann", text, word, outcome, "why")
    found = connection.execute("SELECT action, object_id, outcome FROM audit_log ORDER BY id").fetchall()
    assert found == [
        ("alert.create", "AAPL >", "rejected"),
        ("alert.pause", "9", "failed"),
        ("endpoint.off", "", "rejected"),
    ]
