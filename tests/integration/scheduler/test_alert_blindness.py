"""Owners of alerts are told once that bars are missing, and once that they are there again."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from psycopg import errors
from psycopg_pool import ConnectionPool

from alert_stage import WORDS, AlertStage, before_day, document, session_days
from consumer import Consumer
from scheduler.alert_blindness import AlertBlindness
from scheduler.alert_metrics import AlertCollector
from streamworkers.actor import LOCAL
from streamworkers.alerts.document import AlertTarget, parse_alert
from streamworkers.alerts.standing import read_standings
from streamworkers.alerts.store.changes import add_alert, pause_alert, resume_alert
from streamworkers.alerts.store.symbols import follow_universes, set_symbols
from streamworkers.config import Settings
from streamworkers.database import Connection, connect
from streamworkers.diagnosis.checks import CHECKS
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.market.calendar.symbol_calendars import set_calendar
from streamworkers.market.universes.store import add_symbols

Pool = ConnectionPool[Connection]


@pytest.fixture
def stage(connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> AlertStage:
    return AlertStage(connection, streams, registry, consumer)


@pytest.fixture
def service(pool: Pool) -> AlertBlindness:
    return AlertBlindness(pool, "XNYS")


def notices(stage: AlertStage) -> list[tuple[str, str]]:
    """Type and symbol of all notifications about blindness, in order."""
    found = [(each["type"], each["data"]["symbol"]) for each in stage.events("streamworkers:notify")]
    return [each for each in found if each[0] != "alert_fired"]


def blind(stage: AlertStage) -> list[tuple[str, datetime]]:
    """Symbol and begin of what is recorded as blind."""
    return stage.connection.execute(
        "SELECT symbol, blind_since FROM alert_symbols WHERE blind_since IS NOT NULL AND until IS NULL ORDER BY 1"
    ).fetchall()


def test_a_blindness_and_its_end_are_told_once(stage: AlertStage, service: AlertBlindness) -> None:
    """The bar of a day may be missing until the close of the session after it."""
    stage.add("price > 100", name="one")
    stage.load([99])
    service.look(stage.connection, before_day(2))
    assert notices(stage) == []
    for hours in (0, 1, 48):
        service.look(stage.connection, before_day(3) + timedelta(hours=hours))
    assert notices(stage) == [("alert_blind", "AAA")]
    (begin,) = stage.events("streamworkers:notify")
    assert begin["data"]["name"] == "one"
    assert begin["data"]["text"] == (
        "day bars of AAA are missing after that of 2025-09-02, so the alert cannot be decided"
    )
    ((_, since),) = blind(stage)
    stage.load([99, 99], 1)
    for _ in range(2):
        service.look(stage.connection, before_day(3))
    assert notices(stage) == [("alert_blind", "AAA"), ("alert_sees_again", "AAA")]
    end = stage.events("streamworkers:notify")[1]
    assert end["data"]["text"] == "day bars of AAA are stored again"
    assert blind(stage) == []
    keys = [each["dedup_key"].split(":", 3) for each in (begin, end)]
    assert keys[0][1:] == keys[1][1:]
    assert datetime.fromisoformat(keys[0][3]) == since
    service.look(stage.connection, before_day(6))
    assert notices(stage)[2:] == [("alert_blind", "AAA")]


def test_schedulers_that_look_at_the_same_moment_tell_it_once(stage: AlertStage, pool: Pool, database_url: str) -> None:
    for place in range(20):
        stage.add("price > 100", name=f"a{place}", symbol="NONE")
    ready = Barrier(3)

    def look() -> None:
        with connect(database_url) as connection:
            ready.wait()
            for _ in range(5):
                AlertBlindness(pool, "XNYS", 5).look(connection, before_day(3))

    threads = [Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notices(stage) == [("alert_blind", "NONE")] * 20
    assert len({each["dedup_key"] for each in stage.events("streamworkers:notify")}) == 20


def test_what_cannot_be_told_is_not_recorded(stage: AlertStage, service: AlertBlindness) -> None:
    """Notice and mark are one transaction."""
    stage.add("price > 100")
    stage.connection.execute("ALTER TABLE outbox ADD CONSTRAINT closed CHECK (channel = 'none')")
    with pytest.raises(errors.CheckViolation, match="closed"):
        service.look(stage.connection, before_day(3))
    assert blind(stage) == []
    stage.connection.execute("ALTER TABLE outbox DROP CONSTRAINT closed")
    service.look(stage.connection, before_day(3))
    assert notices(stage) == [("alert_blind", "AAA")]


def test_holidays_are_those_of_the_calendar_of_the_symbol(stage: AlertStage, service: AlertBlindness) -> None:
    """Over Thanksgiving, coins are traded and shares are not."""
    set_calendar(stage.connection, ["X:*"], "24/7")
    eve = session_days().index(date(2025, 11, 25))
    for symbol in ("AAA", "X:BTC"):
        stage.add("price > 100", symbol=symbol)
        stage.load([99], eve, symbol)
    service.look(stage.connection, datetime(2025, 11, 28, 17, 59, tzinfo=UTC))
    assert notices(stage) == [("alert_blind", "X:BTC")]
    service.look(stage.connection, datetime(2025, 11, 28, 18, tzinfo=UTC))  # the early close of New York
    assert notices(stage) == [("alert_blind", "X:BTC"), ("alert_blind", "AAA")]


def test_who_waits_for_no_bar_is_told_nothing(stage: AlertStage, service: AlertBlindness) -> None:
    """Not paused, expired and done alerts, and no symbol that has left."""
    stage.add("price > 0", {"type": "once"}, name="done")
    stage.load([99])
    stage.run()
    members: list[dict[str, Any]] = [{"name": "paused"}, {"name": "left"}, {"expires_at": "2020-01-01"}]
    alerts = [stage.add("price > 100", symbol="NONE", **each) for each in members]
    pause_alert(stage.connection, LOCAL, "paused")
    set_symbols(stage.connection, alerts[1].id, "day", [], before_day(1))
    assert service.look(stage.connection, before_day(5)) is None
    assert notices(stage) == []
    resume_alert(stage.connection, LOCAL, "paused")
    service.look(stage.connection, before_day(5))
    assert notices(stage) == [("alert_blind", "NONE")]
    assert stage.events("streamworkers:notify")[-1]["data"]["text"] == (
        "no day bars of NONE are stored, so the alert cannot be decided"
    )


def _delist(stage: AlertStage, place: int, symbol: str = "AAA") -> None:
    """What a load records when its provider says on which day a symbol was traded for the last time."""
    stage.connection.execute(
        "INSERT INTO listings (symbol, delisted_after, provider) VALUES (%s, %s, 'massive')",
        (symbol, session_days()[place]),
    )


def test_an_alert_about_a_delisted_symbol_ends_once_and_is_not_blind(
    stage: AlertStage, service: AlertBlindness
) -> None:
    """Until the bars after the last day are due, those before it are missed; then nothing is."""
    alert = stage.add("price > 100", name="one")
    stage.add("price > 100", symbol="BBB")
    for symbol in ("AAA", "BBB"):
        stage.load([99, 99], symbol=symbol)
    service.look(stage.connection, before_day(4))
    assert sorted(notices(stage)) == [("alert_blind", "AAA"), ("alert_blind", "BBB")]
    _delist(stage, 2)
    service.look(stage.connection, before_day(4))
    assert [symbol for symbol, _ in blind(stage)] == ["AAA", "BBB"]
    for place in (5, 5, 60):
        service.look(stage.connection, before_day(place))
    assert notices(stage)[2:] == [("alert_ended", "AAA")]
    text = f"AAA was delisted after {session_days()[2]} and has no more day bars, so the alert has ended"
    assert stage.events("streamworkers:notify")[-1]["data"]["text"] == text
    assert [symbol for symbol, _ in blind(stage)] == ["BBB"]
    (standing,) = read_standings(stage.connection, [alert], before_day(60), "XNYS")
    assert (standing.states, standing.ended, standing.blind) == ({"ended": 1}, {"AAA": session_days()[2]}, [])


def test_a_symbol_that_is_listed_again_is_decided_again(stage: AlertStage, service: AlertBlindness) -> None:
    """Bars after a delisting say that it is none: the loader forgets it."""
    alert = stage.add("price > 100")
    _delist(stage, 3)
    service.look(stage.connection, before_day(12))
    assert notices(stage) == [("alert_ended", "AAA")]
    stage.connection.execute("DELETE FROM listings")
    service.look(stage.connection, before_day(12))
    assert notices(stage)[1:] == [("alert_blind", "AAA")]
    stage.load([99] * 12)
    service.look(stage.connection, before_day(12))
    assert notices(stage)[2:] == [("alert_sees_again", "AAA")]
    (standing,) = read_standings(stage.connection, [alert], before_day(12), "XNYS")
    assert (standing.states, standing.ended, standing.blind) == ({"armed": 1}, {}, [])


def test_a_delisted_member_ends_and_one_that_left_is_no_symbol_any_more(
    stage: AlertStage, service: AlertBlindness
) -> None:
    add_symbols(stage.connection, "two", ["AAA", "BBB"])
    about = AlertTarget(universe="two")
    alert = add_alert(
        stage.connection,
        LOCAL,
        replace(parse_alert(document("price > 100"), WORDS), target=about),
        at=before_day(0),
    )
    for symbol in ("AAA", "BBB"):
        _delist(stage, 1, symbol)
    stage.connection.execute("DELETE FROM group_memberships WHERE symbol = 'BBB'")
    follow_universes(stage.connection)
    service.look(stage.connection, before_day(9))
    assert notices(stage) == [("alert_ended", "AAA")]
    (standing,) = read_standings(stage.connection, [alert], before_day(9), "XNYS")
    assert (standing.states, list(standing.ended)) == ({"ended": 1}, ["AAA"])


def test_a_step_is_bounded_and_the_next_one_goes_on(stage: AlertStage, pool: Pool) -> None:
    for place in range(5):
        stage.add("price > 100", name=f"a{place}", symbol="NONE")
    service = AlertBlindness(pool, "XNYS", 2)
    assert [service.run_once() for _ in range(4)] == [0.0, 0.0, None, None]
    assert notices(stage) == [("alert_blind", "NONE")] * 5


def test_a_symbol_that_comes_back_is_told_again(stage: AlertStage, service: AlertBlindness) -> None:
    alert = stage.add("price > 100")
    service.look(stage.connection, before_day(3))
    for symbols, place in (([], 4), (["AAA"], 6)):
        set_symbols(stage.connection, alert.id, "day", symbols, before_day(place))
        service.look(stage.connection, before_day(place))
    assert notices(stage) == [("alert_blind", "AAA")] * 2


def test_metric_and_doctor_name_blind_series(
    stage: AlertStage, service: AlertBlindness, pool: Pool, settings: Settings
) -> None:
    for name in ("one", "two"):
        stage.add("price > 100", name=name)
    service.look(stage.connection, before_day(3))
    samples = {
        sample.labels["timeframe"]: sample.value
        for family in AlertCollector(pool, ScrapeBoard()).collect()
        for sample in family.samples
        if sample.name == "streamworkers_alert_series_blind"
    }
    assert samples == {"1min": 0, "hour": 0, "day": 1, "week": 0, "month": 0}
    ((_, since), _) = blind(stage)
    snapshot = Snapshot(stage.connection, stage.streams, stage.registry, settings)
    (finding,) = CHECKS["blind_alerts"].find(snapshot)
    assert finding.where == "AAA day"
    assert finding.what == f"2 alerts are blind since {since:%Y-%m-%d %H:%M} UTC"
