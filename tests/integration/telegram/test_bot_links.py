"""Who is answered: codes, links, groups, messages that are nobody's; and what is left of a chat that is forgotten."""

from datetime import timedelta
from typing import Any

import pytest

from bot_stage import ANN, BOB, BOT_ID, GROUP, BotStage
from streamworkers.actor import Actor
from streamworkers.alerts.store.alerts import list_alerts
from streamworkers.database import Connection, fetch_value
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.notifications.store.endpoints import list_endpoints, remove_endpoint
from streamworkers.telegram.store.link_codes import LOCK, make_code
from streamworkers.telegram.store.links import list_links, remove_link, require_link
from streamworkers.telegram.store.updates import KEPT, claim_update, prune_updates, read_offset

HOUR = timedelta(hours=1)


def _places(connection: Connection) -> list[tuple[Any, ...]]:
    return [(link.user, link.telegram_user, link.chat_id, list(link.scopes)) for link in list_links(connection)]


def test_a_code_links_once(stage: BotStage, connection: Connection) -> None:
    code = stage.code("ann", "ops")
    assert len(code) == 43
    assert stage.say(f"/start {code}").startswith("Linked with user ann, with the scopes ops")
    assert _places(connection) == [("ann", ANN, ANN, ["ops"])]
    (endpoint,) = list_endpoints(connection, "ann")
    assert (endpoint.channel, endpoint.address, endpoint.is_usable) == ("telegram", str(ANN), True)
    assert stage.say(f"/start {code}", BOB) == "Not linked: this code was used already: ask for another."
    assert code not in str(connection.execute("SELECT * FROM telegram_codes").fetchall()), "only its hash is stored"
    assert stage.say("/start").startswith("Linked with user ann")


def test_a_code_ends_after_ten_minutes(stage: BotStage, connection: Connection) -> None:
    code = stage.code()
    connection.execute("UPDATE telegram_codes SET expires_at = expires_at - interval '10 minutes 1 second'")
    assert stage.say(f"/start {code}") == "Not linked: this code has ended: it was good for 10 minutes."
    assert _places(connection) == []


def test_five_wrong_codes_lock_this_person_in_this_chat_for_an_hour(stage: BotStage, connection: Connection) -> None:
    for _ in range(5):
        assert stage.say("/start guess") == "Not linked: this is not a code."
    code = stage.code()
    assert stage.say(f"/start {code}") == "Not linked: too many wrong codes here: try again in 1 h."
    assert stage.say("/start guess", BOB) == "Not linked: this is not a code."
    assert stage.say(f"/start {code}", ANN, GROUP).startswith("Linked with user ann"), "in another chat"
    connection.execute(
        "UPDATE telegram_tries SET tried_at = tried_at - %s, locked_until = locked_until - %s", (LOCK, LOCK)
    )
    assert stage.say("/start guess") == "Not linked: this is not a code."
    assert stage.say(f"/start {stage.code()}").startswith("Linked with user ann")
    assert fetch_value(connection, "SELECT count(*) FROM telegram_tries WHERE telegram_user = %s", (ANN,)) == 0


def test_wrong_codes_of_long_ago_do_not_count(stage: BotStage, connection: Connection) -> None:
    for _ in range(4):
        stage.say("/start guess")
    connection.execute("UPDATE telegram_tries SET tried_at = tried_at - %s", (LOCK,))
    stage.say("/start guess")
    assert stage.say(f"/start {stage.code()}").startswith("Linked with user ann")


def test_codes_are_made_for_known_users_and_scopes(stage: BotStage, connection: Connection) -> None:
    with pytest.raises(UnknownNameError, match="no user is named 'nobody'"):
        make_code(connection, Actor("local"), "nobody", ())
    with pytest.raises(BadInputError) as raised:
        make_code(connection, Actor("local"), "ann", ["root"])
    assert str(raised.value) == "scope 'root' is not one of ops, trade"


def test_who_is_not_linked_changes_nothing(stage: BotStage, connection: Connection) -> None:
    stage.link()
    assert stage.say("/alert AAPL > 1", BOB).startswith("This chat is not linked.")
    assert stage.say("/start", BOB).startswith("This chat is not linked.")
    assert stage.say("hello", BOB) == ""
    assert stage.say("hello") == "Commands begin with /\n/help lists them."
    assert stage.say("/alert AAPL > 1", ANN, GROUP) == "", "the link is of her private chat"
    assert stage.say("/alert AAPL > 1", BOB, GROUP) == ""
    assert stage.say("/start guess", BOB, GROUP) == ""
    assert stage.press("alert:mute:1", BOB) == ""
    assert list_alerts(connection, "ann") == []


@pytest.mark.parametrize(
    "more",
    [
        {"forward_origin": {"type": "user"}},
        {"forward_date": 1},
        {"via_bot": {"id": 5}},
        {"sender_chat": {"id": GROUP}},
        {"from": None},
        {"from": {"id": ANN, "is_bot": True}},
        {"chat": {"id": ANN, "type": "channel"}},
        {"text": None},
        {"date": "yesterday"},
    ],
)
def test_messages_of_nobody_are_ignored(stage: BotStage, connection: Connection, more: dict[str, Any]) -> None:
    stage.link()
    handled = stage.handle(stage.message("/alert AAPL > 1", changed=more))
    assert (handled.outcome, handled.answers, handled.plain) == ("ignored", (), None)
    assert list_alerts(connection, "ann") == []


@pytest.mark.parametrize("kind", ["edited_message", "channel_post", "edited_channel_post", "my_chat_member", "poll"])
def test_other_kinds_of_updates_are_ignored(stage: BotStage, connection: Connection, kind: str) -> None:
    stage.link()
    update = stage.message("/alert AAPL > 1")
    update[kind] = update.pop("message")
    assert stage.handle(update).outcome == "ignored"
    assert read_offset(connection, BOT_ID) == update["update_id"] + 1
    assert list_alerts(connection, "ann") == []


def test_in_a_group_each_member_is_themselves(stage: BotStage, connection: Connection) -> None:
    stage.link(ANN, "ann", GROUP)
    stage.link(BOB, "bob", GROUP)
    stage.say("/alert AAPL > 1", ANN, GROUP)
    stage.say("/alert@StreamBot MSFT > 1", BOB, GROUP)
    assert stage.say("/alert@OtherBot TSLA > 1", ANN, GROUP) == ""
    assert stage.say("/unknown", ANN, GROUP) == "", "of another bot, perhaps"
    assert stage.say("thanks", ANN, GROUP) == ""
    assert "AAPL" in stage.say("/alerts", ANN, GROUP)
    assert "AAPL" not in stage.say("/alerts", BOB, GROUP)
    handled = stage.handle(stage.message("/alerts", BOB, GROUP))
    (owner,) = connection.execute("SELECT user_id FROM deliveries WHERE id = %s", handled.answers).fetchone() or ("",)
    assert owner == "bob"


def test_in_a_group_with_topics_the_answer_goes_where_the_command_was(stage: BotStage, connection: Connection) -> None:
    stage.link(ANN, "ann", GROUP)
    topics = []
    for topic in (7, None, 9, None):
        changed = {} if topic is None else {"message_thread_id": topic, "is_topic_message": True}
        stage.handle(stage.message("/alerts", ANN, GROUP, changed=changed))
        (endpoint,) = list_endpoints(connection, "ann")
        topics.append(endpoint.settings.get("message_thread_id"))
    assert topics == [7, None, 9, None]


def test_a_group_that_becomes_a_supergroup_keeps_its_links(stage: BotStage, connection: Connection) -> None:
    stage.link(ANN, "ann", GROUP)
    assert (
        stage.handle(stage.message("", ANN, GROUP, changed={"text": None, "migrate_to_chat_id": -100777})).outcome
        == "moved"
    )
    assert _places(connection) == [("ann", ANN, -100777, [])]
    assert [each.address for each in list_endpoints(connection, "ann")] == ["-100777"]


def test_another_code_changes_the_user_of_a_chat(stage: BotStage, connection: Connection) -> None:
    stage.link()
    stage.link(ANN, "bob")
    assert _places(connection) == [("bob", ANN, ANN, [])]
    assert list_endpoints(connection, "ann") == [], "no message of ann goes to a chat of bob"


def test_answers_are_urgent_deliveries_that_wait_ten_seconds_for_their_bot(
    stage: BotStage, connection: Connection
) -> None:
    stage.link()
    handled = stage.handle(stage.message("/help"))
    row = connection.execute(
        "SELECT state, priority, type, channel, not_before - created_at BETWEEN '9 s' AND '11 s' FROM deliveries"
        " WHERE id = %s",
        handled.answers,
    ).fetchone()
    assert row == ("queued", "urgent", "answer", "telegram", True)


def test_an_endpoint_that_was_removed_comes_back_with_the_next_command(stage: BotStage, connection: Connection) -> None:
    stage.link()
    (endpoint,) = list_endpoints(connection, "ann")
    remove_endpoint(connection, Actor("ann"), endpoint.name)
    assert stage.say("/help").startswith("Commands")
    assert len(list_endpoints(connection, "ann")) == 1


def test_links_are_removed_on_the_command_line(stage: BotStage, connection: Connection) -> None:
    stage.link()
    remove_link(connection, Actor("ann"), require_link(connection, "ann", ANN))
    assert _places(connection) == []
    assert list_endpoints(connection, "ann") == []
    with pytest.raises(BadInputError) as raised:
        require_link(connection, "ann", ANN)
    assert str(raised.value) == "user 'ann' has no link in chat 1001: `streamworkers telegram links list` has all"


def test_forget_leaves_nothing_with_the_chat_but_a_pseudonym(stage: BotStage, connection: Connection) -> None:
    person = 918273645
    stage.say("/start guess", person)
    stage.link(person)
    stage.say("/alert AAPL > 150", person)
    stage.say("/quiet 22:00-07:00 UTC", person)
    stage.say("/digest on", person)
    asked = stage.handle(stage.message("/forget", person))
    assert _rows_with(connection, str(person)) != []
    answer = stage.press(stage.button(asked), person)
    assert answer == "Forgotten: nothing is stored about this chat any more"
    assert _rows_with(connection, str(person)) == []
    assert fetch_value(connection, "SELECT count(*) FROM deliveries WHERE content IS NOT NULL") == 0
    assert fetch_value(connection, "SELECT count(*) FROM notification_preferences") == 0
    assert fetch_value(connection, "SELECT count(*) FROM quiet_hours") == 0
    assert len(list_alerts(connection, "ann")) == 1, "alerts are the user's"
    (pseudonym,) = connection.execute("SELECT pseudonym FROM telegram_forgotten").fetchone() or (b"",)
    assert len(pseudonym) == 32
    assert stage.say("/alerts", person).startswith("This chat is not linked.")


def _rows_with(connection: Connection, text: str) -> list[tuple[str, str]]:
    """The rows of all tables that hold a text anywhere."""
    tables = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
    ).fetchall()
    found = []
    for (table,) in tables:
        rows = connection.execute(f'SELECT t::text FROM "{table}" t WHERE t::text LIKE %s'.encode(), (f"%{text}%",))
        found += [(table, row) for (row,) in rows]
    return found


def test_an_update_is_claimed_once_and_the_offset_never_goes_back(stage: BotStage, connection: Connection) -> None:
    assert claim_update(connection, BOT_ID, 7)
    assert not claim_update(connection, BOT_ID, 7)
    assert claim_update(connection, BOT_ID, 5)
    assert claim_update(connection, BOT_ID + 1, 7), "of another bot"
    assert (read_offset(connection, BOT_ID), read_offset(connection, 1)) == (8, None)


def test_a_repeated_update_has_no_second_effect(stage: BotStage, connection: Connection) -> None:
    stage.link()
    update = stage.message("/alert AAPL > 150")
    assert stage.handle(update).outcome == "done"
    assert stage.handle(update) == ("repeated", (), None, None)
    assert len(list_alerts(connection, "ann")) == 1


def test_control_without_the_key_a_repeated_update_has_two(
    stage: BotStage, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.link()
    monkeypatch.setattr("streamworkers.telegram.handling.claim_update", lambda *_: True)
    update = stage.message("/alert AAPL > 150")
    stage.handle(update)
    stage.handle(update)
    assert len(list_alerts(connection, "ann")) == 2


def test_what_is_over_is_pruned(stage: BotStage, connection: Connection) -> None:
    stage.link()
    stage.say("/start guess", BOB)
    stage.say("/forget")
    prune_updates(connection)
    tables = ("telegram_updates", "telegram_codes", "telegram_tries", "telegram_confirmations")
    assert all(fetch_value(connection, f"SELECT count(*) FROM {table}") for table in tables)
    for table, column in zip(tables, ("handled_at", "expires_at", "tried_at", "expires_at"), strict=True):
        connection.execute(f"UPDATE {table} SET {column} = {column} - %s".encode(), (KEPT + HOUR,))
    prune_updates(connection)
    assert not any(fetch_value(connection, f"SELECT count(*) FROM {table}") for table in tables)
