"""Runs of the job `alerts` start with changes of series that have a live alert, once each, and with nothing else."""

from collections.abc import Callable
from threading import Event, Thread

import pytest
from psycopg_pool import ConnectionPool

from alert_stage import AlertStage, before_day
from consumer import Consumer
from harness import wait_until
from scheduler.alert_metrics import AlertCollector
from scheduler.alert_runs import AlertRuns, follow_changes
from streamworkers.actor import LOCAL
from streamworkers.alerts.store.changes import pause_alert
from streamworkers.alerts.store.decisions import lock_shards
from streamworkers.database import Connection, connect
from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.universes.cache import UniverseCache

Pool = ConnectionPool[Connection]
Make = Callable[[], AlertRuns]


@pytest.fixture
def stage(connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> AlertStage:
    return AlertStage(connection, streams, registry, consumer)


@pytest.fixture
def make(pool: Pool, streams: Streams, registry: Registry, database_url: str) -> Make:
    """Schedulers, each with a service of its own."""
    return lambda: AlertRuns(pool, streams, registry, UniverseCache(lambda: connect(database_url)))


def runs(stage: AlertStage) -> list[list[str]]:
    """The symbols of each run."""
    rows = stage.connection.execute(
        "SELECT array_agg(i.symbol ORDER BY i.symbol) FROM runs r JOIN run_items i ON i.run_id = r.id"
        " WHERE r.job = 'alerts' AND r.timeframe = 'day' GROUP BY r.id ORDER BY r.id"
    )
    return [symbols for (symbols,) in rows]


def test_a_change_of_a_series_with_an_alert_starts_one_run(stage: AlertStage, make: Make) -> None:
    """Not that of another series; not twice, by any scheduler; not of a paused alert."""
    stage.add("price > 100", name="one")
    stage.load([99])
    stage.load([99], symbol="BBB")
    services = [make(), make(), make()]
    for service in services:
        service.seconds_between_runs = 3600
        service.run_once()
    assert runs(stage) == [["AAA"]]
    assert stage.consumer.work("alerts") == 1
    make().run_once()
    assert len(runs(stage)) == 1
    stage.load([101], 1)
    assert services[0].run_once() is not None  # it may not start another one yet
    assert services[1].run_once() is None
    assert len(runs(stage)) == 2
    stage.consumer.work("alerts")
    assert stage.fired() == [1]
    pause_alert(stage.connection, LOCAL, "one", at=before_day(2))
    stage.load([99], 2)
    make().run_once()
    assert len(runs(stage)) == 2


def test_a_series_that_is_being_decided_is_left_for_the_next_step(
    stage: AlertStage, make: Make, database_url: str
) -> None:
    """The service does not wait for the lock of a decision."""
    stage.add("price > 100")
    stage.load([99])
    with connect(database_url) as other:
        lock_shards(other, "day", ["AAA"])
    with connect(database_url) as other, other.transaction():
        lock_shards(other, "day", ["AAA"])
        make().run_once()
        assert runs(stage) == []
    make().run_once()
    assert runs(stage) == [["AAA"]]


def test_a_write_of_bars_wakes_the_service(stage: AlertStage, database_url: str) -> None:
    """One notification with the writing transaction; the poll of each second is for those that are missed."""
    woken, stop = Event(), Event()
    thread = Thread(target=follow_changes, args=(lambda: connect(database_url), woken.set, lambda: not stop.is_set()))
    thread.start()
    try:
        wait_until(woken.is_set)
        woken.clear()
        stage.load([99])
        wait_until(woken.is_set)
    finally:
        stop.set()
        thread.join()


def test_metrics_count_what_was_decided(stage: AlertStage, pool: Pool) -> None:
    """Evaluations by outcome, firings by state, series that are behind."""
    stage.add("price > 100 and volume > 0", {"type": "simple"})
    stage.load([99, 101, None])
    stage.run()
    stage.load([101], 3)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in AlertCollector(pool, ScrapeBoard()).collect()
        for sample in family.samples
    }
    assert samples.pop(("streamworkers_alert_lateness_seconds", "day")) > 0
    blind = {("streamworkers_alert_series_blind", timeframe): 0.0 for timeframe in TIMEFRAMES}
    assert samples == blind | {
        ("streamworkers_alert_evaluations_total", "day", "known"): 2,
        ("streamworkers_alert_evaluations_total", "day", "unknown"): 1,
        ("streamworkers_alert_firings_total", "day", "live"): 0,
        ("streamworkers_alert_firings_total", "day", "late"): 1,
        ("streamworkers_alert_firings_total", "day", "suppressed"): 0,
        ("streamworkers_alert_series_behind", "day"): 1,
    }
