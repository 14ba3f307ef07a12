"""Alerts are changed by one function each: versions, epochs, symbols and mutes."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamworkers.actor import LOCAL, Actor
from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.document import Alert, parse_alert
from streamworkers.alerts.store.alerts import find_alert, list_alerts, read_versions
from streamworkers.alerts.store.changes import add_alert, edit_alert, pause_alert, remove_alert, resume_alert
from streamworkers.alerts.store.mutes import mute_alert, read_mutes, snooze_alert, unmute_alert
from streamworkers.alerts.store.reports import list_corrections, list_firings, read_states
from streamworkers.alerts.store.symbols import follow_universes, read_symbols
from streamworkers.database import Connection, connect
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.market.universes.store import add_symbols
from streamworkers.rules.market_vocabulary import MarketVocabulary

WORDS = MarketVocabulary()
START = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def alert(text: str = "AAPL > 150 day", **members: Any) -> Alert:
    """An alert in text form, with other members of its document."""
    if not members:
        return parse_alert_text(text, WORDS)
    rule = {"indicator": "price", "operator": ">", "value": 150}
    return parse_alert({"ticker": "AAPL", "timeframe": "day", "rule": rule} | members, WORDS)


def test_an_alert_is_stored_in_its_canonical_form(connection: Connection) -> None:
    """It comes back as it was typed; without a name it is named by its number."""
    stored = add_alert(connection, LOCAL, alert("AAPL rsi(14) < 30 1d once"), at=START)
    assert stored.name == f"alert-{stored.id}"
    assert (stored.timeframe, stored.version, stored.epoch, stored.effective_from) == ("day", 1, 1, START)
    assert stored.alert.rule == alert("AAPL rsi(14) < 30").rule
    assert read_symbols(connection, stored.id) == ["AAPL"]
    assert [each.name for each in list_alerts(connection, "local")] == [stored.name]
    row = connection.execute("SELECT created_by FROM alerts").fetchone()
    assert row == ("cli:local",)


@pytest.mark.parametrize(
    ("members", "epoch", "version"),
    [
        ({"notify": {"message_template": "now"}}, 1, 2),
        ({"expires_at": "2027-01-01T00:00:00Z"}, 1, 2),
        ({"max_fires": 3}, 1, 2),
        ({"name": "other"}, 1, 2),
        ({"ticker": "MSFT"}, 1, 2),
        ({"rule": {"indicator": "price", "operator": ">", "value": 160}}, 2, 2),
        ({"rearm": {"type": "once"}}, 2, 2),
        ({"timeframe": "hour"}, 2, 2),
        ({}, 1, 1),
    ],
)
def test_what_begins_a_new_epoch(members: dict[str, Any], epoch: int, version: int, connection: Connection) -> None:
    """Rule, rearm policy and timeframe do; names, messages, limits and symbols do not; no change is no version."""
    first = add_alert(connection, LOCAL, alert(name="one"), at=START)
    edited = edit_alert(connection, LOCAL, "one", alert(**({"name": "one"} | members)), at=START + HOUR)
    assert (edited.epoch, edited.version) == (epoch, version)
    assert [each.version for each in read_versions(connection, [first.id])[first.id]] == [*range(1, version + 1)]
    is_new_rule = {"rule", "rearm"} & members.keys()
    assert edited.rule_from == (START + HOUR if is_new_rule else START)


def test_a_pause_ends_an_epoch_and_a_removal_frees_the_name(connection: Connection) -> None:
    """Pausing twice is pausing once; what is removed keeps its versions."""
    first = add_alert(connection, LOCAL, alert(name="one"), at=START)
    pause_alert(connection, LOCAL, "one", at=START + HOUR)
    pause_alert(connection, LOCAL, "one", at=START + 2 * HOUR)
    edit_alert(connection, LOCAL, "one", alert(name="one", max_fires=2), at=START + 3 * HOUR)
    resume_alert(connection, LOCAL, "one", at=START + 4 * HOUR)
    versions = read_versions(connection, [first.id])[first.id]
    assert [(each.is_active, each.epoch) for each in versions] == [(True, 1), (False, 1), (False, 1), (True, 2)]
    assert versions[-1].rule_from == START
    remove_alert(connection, LOCAL, "one", at=START + 5 * HOUR)
    with pytest.raises(UnknownNameError, match="no alert is named 'one'; there is no alert yet"):
        find_alert(connection, "local", "one")
    second = add_alert(connection, LOCAL, alert(name="one"), at=START + 6 * HOUR)
    assert second.id != first.id
    assert read_symbols(connection, first.id) == []


def test_versions_cannot_be_changed_by_programs(connection: Connection) -> None:
    """The role of programs may add versions and change none."""
    connection.execute("CREATE ROLE streamworkers_app") if not _has_role(connection) else None
    connection.execute("SELECT grant_streamworkers_roles()")
    rights = "SELECT has_table_privilege('streamworkers_app', 'alert_versions', %s)"
    allowed = {word: connection.execute(rights, (word,)).fetchone() for word in ("INSERT", "UPDATE", "DELETE")}
    assert allowed == {"INSERT": (True,), "UPDATE": (False,), "DELETE": (False,)}


def _has_role(connection: Connection) -> bool:
    row = connection.execute("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_app')").fetchone()
    return row == (True,)


def test_what_cannot_be_added_is_named(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are taken, missing symbols and timeframes, unknown users and universes, and one too many."""
    add_alert(connection, LOCAL, alert(name="one"), at=START)
    with pytest.raises(BadInputError, match="user 'local' has an alert 'one' already: choose another name, or edit it"):
        add_alert(connection, LOCAL, alert(name="one"))
    with pytest.raises(BadInputError, match="an alert needs a symbol: ticker, tickers or universe"):
        add_alert(connection, LOCAL, alert("rsi(14) < 30 day"))
    with pytest.raises(BadInputError, match="an alert needs a timeframe, such as 1min, hour or day"):
        add_alert(connection, LOCAL, alert("AAPL > 1"))
    with pytest.raises(UnknownNameError, match="no user is named 'ann'; known: local"):
        add_alert(connection, Actor("ann"), alert())
    with pytest.raises(UnknownNameError, match="no universe is named 'x'"):
        add_alert(connection, LOCAL, _about_universe("x"))
    with pytest.raises(
        BadInputError, match=r"a change of alert 'one' at 2026-01-05T11:00.* is before its newest version"
    ):
        pause_alert(connection, LOCAL, "one", at=START - HOUR)
    with pytest.raises(UnknownNameError, match="no alert is named 'two'; known: one"):
        edit_alert(connection, LOCAL, "two", alert())
    monkeypatch.setenv("STREAMWORKERS_ALERTS_PER_USER", "1")
    with pytest.raises(BadInputError, match="user 'local' has 1 alerts, and STREAMWORKERS_ALERTS_PER_USER is 1"):
        add_alert(connection, LOCAL, alert())
    assert len(list_alerts(connection, "local")) == 1


def _about_universe(name: str) -> Alert:
    rule = {"indicator": "price", "operator": ">", "value": 1}
    return parse_alert({"universe": name, "timeframe": "day", "rule": rule, "name": f"of {name}"}, WORDS)


def test_one_name_is_given_once_by_two_at_the_same_time(connection: Connection, database_url: str) -> None:
    """Who comes second waits for the first, and is rejected by the rule, not by the index."""
    errors: list[str] = []

    def add() -> None:
        with connect(database_url) as own:
            try:
                add_alert(own, LOCAL, alert(name="one"))
            except BadInputError as error:
                errors.append(str(error))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 3
    assert len(list_alerts(connection, "local")) == 1


def test_symbols_follow_a_universe(connection: Connection) -> None:
    """Who leaves ends, who comes begins, who returns begins again; nothing changes without a change."""
    add_symbols(connection, "few", ["A", "B"])
    stored = add_alert(connection, LOCAL, _about_universe("few"), at=START)
    assert read_symbols(connection, stored.id) == ["A", "B"]
    assert follow_universes(connection) == 0
    connection.execute("DELETE FROM group_memberships WHERE symbol = 'A'")
    add_symbols(connection, "few", ["C"])
    assert follow_universes(connection) == 1
    assert read_symbols(connection, stored.id) == ["B", "C"]
    add_symbols(connection, "few", ["A"])
    assert follow_universes(connection) == 1
    rows = connection.execute(
        "SELECT symbol, until IS NULL FROM alert_symbols WHERE symbol = 'A' ORDER BY since"
    ).fetchall()
    assert rows == [("A", False), ("A", True)]
    connection.execute("DELETE FROM definition_groups")
    assert follow_universes(connection) == 1
    assert read_symbols(connection, stored.id) == []


def test_mutes_and_snoozes_are_spans(connection: Connection) -> None:
    """A later one ends the one before; an end may be given, or come by hand; who and why are kept."""
    stored = add_alert(connection, LOCAL, alert(name="one"), at=START)
    mute_alert(connection, LOCAL, "one", START + 9 * HOUR, "a holiday", at=START + HOUR)
    mute_alert(connection, LOCAL, "one", None, at=START + 2 * HOUR)
    snooze_alert(connection, LOCAL, "one", "AAPL", START + 4 * HOUR, at=START + 3 * HOUR)
    assert unmute_alert(connection, LOCAL, "one", at=START + 5 * HOUR)
    assert not unmute_alert(connection, LOCAL, "one", at=START + 6 * HOUR)
    found = read_mutes(connection, [stored.id])
    assert [(each.kind, each.symbol, each.reason, each.created_by) for each in found] == [
        ("mute", None, "a holiday", "cli:local"),
        ("mute", None, None, "cli:local"),
        ("snooze", "AAPL", None, "cli:local"),
    ]
    hours = [hour for hour in range(8) if any(each.covers("AAPL", START + hour * HOUR) for each in found)]
    assert hours == [2, 3, 4, 5]
    assert not any(each.covers("MSFT", START + 3.5 * HOUR) for each in found[2:])
    with pytest.raises(BadInputError, match="has passed, so nothing would be muted until then"):
        mute_alert(connection, LOCAL, "one", START, at=START + HOUR)
    with pytest.raises(UnknownNameError, match="symbol of alert 'one'"):
        snooze_alert(connection, LOCAL, "one", "MSFT", START + 9 * HOUR, at=START)


def test_a_new_alert_is_listed_as_armed_and_has_not_fired(connection: Connection) -> None:
    """Before its first bar there is no row of its state, and its series is shown as not known."""
    stored = add_alert(connection, LOCAL, alert(name="one"), at=START)
    (row,) = read_states(connection, [stored.id])
    assert (row["symbol"], row["status"], row["fire_count"], row["complete_through"]) == ("AAPL", "armed", 0, None)
    assert list_firings(connection, "local", 10) == []
    assert list_corrections(connection, stored.id, 10) == []
    assert connection.execute("SELECT count(*) FROM alert_state_json").fetchone() == (0,)
