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
from streamworkers.admin.runs import cancel, retry
from streamworkers.alerts.store.changes import pause_alert, resume_alert
from streamworkers.alerts.store.decisions import lock_shards
from streamworkers.alerts.store.due import MOST_RETRIES
from streamworkers.config import Settings
from streamworkers.database import Connection, connect
from streamworkers.diagnosis.checks import CHECKS
from streamworkers.diagnosis.snapshot import Snapshot
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


def _fail(stage: AlertStage) -> None:
    """Let every firing be an error of the database, until the constraint is dropped."""
    stage.connection.execute("ALTER TABLE alert_firings ADD CONSTRAINT nothing_fires CHECK (price < 0)")


def _mend(stage: AlertStage) -> None:
    stage.connection.execute("ALTER TABLE alert_firings DROP CONSTRAINT nothing_fires")


def _let_pass(stage: AlertStage, seconds: int) -> None:
    stage.connection.execute(
        "UPDATE alert_shards SET requested_at = requested_at - make_interval(secs => %s)", (seconds,)
    )


def _ends(stage: AlertStage) -> list[str]:
    rows = stage.connection.execute("SELECT status FROM runs WHERE job = 'alerts' ORDER BY id")
    return [status for (status,) in rows]


@pytest.fixture
def prompt(make: Make) -> AlertRuns:
    """A service that does not wait between two runs."""
    service = make()
    service.seconds_between_runs = 0
    return service


def test_a_series_whose_run_failed_is_decided_without_a_person(
    stage: AlertStage, make: Make, prompt: AlertRuns
) -> None:
    """After a pause, once, by whichever scheduler; what is replayed afterwards decides nothing again."""
    stage.add("price > 100")
    stage.load([99, 101])
    _fail(stage)
    prompt.run_once()
    stage.consumer.work_until_empty("alerts")
    assert _ends(stage) == ["FAILED"]
    _mend(stage)
    _let_pass(stage, 20)
    prompt.run_once()
    assert len(runs(stage)) == 1
    _let_pass(stage, 10)
    for service in (prompt, make(), make()):
        service.run_once()
        _let_pass(stage, 3600)  # an open run is left alone, whatever time it takes
    assert runs(stage) == [["AAA"], ["AAA"]]
    stage.consumer.work_until_empty("alerts")
    assert (_ends(stage)[1], stage.fired()) == ("COMPLETED", [1])
    assert retry(stage.connection, stage.streams, 1) == 1
    stage.consumer.work_until_empty("alerts")
    assert (_ends(stage), stage.fired()) == (["COMPLETED", "COMPLETED"], [1])
    prompt.run_once()
    assert len(runs(stage)) == 2


def test_control_without_a_retry_the_series_stays_undecided(stage: AlertStage, prompt: AlertRuns) -> None:
    prompt.most_retries = 0
    stage.add("price > 100")
    stage.load([99, 101])
    _fail(stage)
    prompt.run_once()
    stage.consumer.work_until_empty("alerts")
    _mend(stage)
    _let_pass(stage, 3600)
    prompt.run_once()
    assert (len(runs(stage)), stage.fired()) == (1, [])


def test_a_cancelled_run_is_repeated(stage: AlertStage, prompt: AlertRuns) -> None:
    stage.add("price > 100")
    stage.load([99, 101])
    prompt.run_once()
    (run_id,) = stage.connection.execute("SELECT id FROM runs").fetchone() or (0,)
    cancel(stage.connection, stage.streams, run_id)
    _let_pass(stage, 30)
    prompt.run_once()
    stage.consumer.work_until_empty("alerts")
    assert (_ends(stage), stage.fired()) == (["CANCELLED", "COMPLETED"], [1])


def test_retries_end_and_the_doctor_says_so_until_the_next_change(
    stage: AlertStage, prompt: AlertRuns, settings: Settings
) -> None:
    def find_undecided() -> list[tuple[str, str]]:
        snapshot = Snapshot(stage.connection, stage.streams, stage.registry, settings)
        return [(each.where, each.what) for each in CHECKS["undecided_alerts"].find(snapshot)]

    stage.add("price > 100")
    stage.load([99, 101])
    _fail(stage)
    for _ in range(MOST_RETRIES + 3):
        prompt.run_once()
        stage.consumer.work_until_empty("alerts")
        _let_pass(stage, 3600)
    assert len(runs(stage)) == MOST_RETRIES + 1
    newest = len(runs(stage))
    assert find_undecided() == [("AAA day", f"its alerts are not decided; the newest run was {newest}")]
    _mend(stage)
    stage.load([99], 2)
    assert find_undecided() == []
    prompt.run_once()
    stage.consumer.work_until_empty("alerts")
    assert (stage.fired(), find_undecided()) == ([1], [])
    assert stage.connection.execute("SELECT retries FROM alert_shards").fetchall() == [(0,)]


def test_a_change_that_was_requested_during_a_pause_is_decided_after_it(stage: AlertStage, prompt: AlertRuns) -> None:
    """Its run found no live alert, so it has decided nothing, not even the bar that closed before the pause."""
    stage.add("price > 100", name="one")
    stage.load([99, 101])
    prompt.run_once()
    pause_alert(stage.connection, LOCAL, "one", at=before_day(2))
    stage.consumer.work_until_empty("alerts")
    resume_alert(stage.connection, LOCAL, "one", at=before_day(3))
    _let_pass(stage, 30)
    prompt.run_once()
    stage.consumer.work_until_empty("alerts")
    assert (len(runs(stage)), stage.fired()) == (2, [1])
    seen = "SELECT change_seen = change_requested FROM alert_shards"
    assert stage.connection.execute(seen).fetchall() == [(True,)]


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
