"""`assert_exactly_once` on a sound run, and on runs that were damaged by hand: each message names what is wrong."""

from datetime import UTC, datetime

import pytest

from consumer import Consumer
from harness import ServiceUrls, start_run
from streamworkers.database import Connection
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError, UnknownRunError
from streamworkers.testing import assert_exactly_once
from streamworkers.testing.installation import Installation

KEY = ("run_id", "symbol")


@pytest.fixture
def installation(service_urls: ServiceUrls, database_url: str, key_prefix: str) -> Installation:
    return Installation(service_urls.redis, database_url, key_prefix)


@pytest.fixture
def run(connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> Run:
    """A run of three items, each with its effect."""
    started = start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    consumer.work()
    return started


def _problem(run: Run, installation: Installation, **words: object) -> str:
    with pytest.raises(AssertionError) as raised:
        assert_exactly_once(run, installation=installation, seconds=0.1, **words)  # type: ignore[arg-type]
    return str(raised.value)


def test_a_sound_run_passes_by_number_too(run: Run, installation: Installation) -> None:
    assert_exactly_once(run, table="effects", key=KEY, installation=installation)
    assert_exactly_once(run.id, table="public.effects", key={"symbol": "key"}, installation=installation)


def test_effects_that_are_missing_or_doubled_are_named(
    run: Run, installation: Installation, connection: Connection
) -> None:
    connection.execute("INSERT INTO effects SELECT * FROM effects WHERE symbol = 'B'")
    connection.execute("DELETE FROM effects WHERE symbol = 'C'")
    assert _problem(run, installation, table="effects", key=KEY) == (
        f"run {run.id}: 1 completed items have no effect in effects: C;"
        " 1 effects are in effects more than once: B (2 rows)"
    )
    assert_exactly_once(run, installation=installation)  # of the ledger alone


def test_rows_of_one_item_are_told_apart_by_a_column_that_is_none_of_the_items(
    run: Run, installation: Installation, connection: Connection
) -> None:
    connection.execute("CREATE TABLE days AS SELECT symbol AS ticker, d AS day FROM effects, generate_series(1, 2) d")
    key = {"ticker": "symbol", "day": "day"}
    assert_exactly_once(run, table="days", key=key, installation=installation)
    connection.execute("INSERT INTO days VALUES ('A', 2), ('other', 1), ('other', 1)")
    assert _problem(run, installation, table="days", key=key) == (
        f"run {run.id}: 1 effects are in days more than once: A (2 rows)"
    )


def test_an_effect_of_an_item_that_is_not_completed_is_named(
    run: Run, installation: Installation, connection: Connection
) -> None:
    connection.execute("UPDATE run_items SET status = 'failed' WHERE symbol = 'A'")
    connection.execute("UPDATE runs SET completed_count = 2, failed_count = 1")
    assert _problem(run, installation, table="effects", key=KEY) == (
        f"run {run.id}: 1 items that are not completed have an effect in effects: A"
    )
    assert_exactly_once(run, table="effects", key=("symbol",), installation=installation)  # of an earlier run, perhaps


def test_a_run_that_has_not_ended_is_not_complete(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, installation: Installation
) -> None:
    started = start_run(connection, streams, registry, "ledger_entry", *(f"S{number}" for number in range(12)))
    shown = ", ".join(f"S{number}" for number in range(10))
    assert _problem(started, installation) == (
        f"run {started.id}: it is PENDING: 12 of 12 items are open: {shown} and 2 more"
    )
    consumer.work()
    connection.execute("UPDATE runs SET status = 'RUNNING'")
    assert "it is RUNNING, although none of its items is open" in _problem(started, installation)
    connection.execute("UPDATE runs SET status = 'PENDING', prepared_at = NULL")
    assert "it is PENDING, and no process of the pool has prepared it" in _problem(started, installation)


def test_a_ledger_that_does_not_agree_with_itself_is_named(
    run: Run, installation: Installation, connection: Connection
) -> None:
    connection.execute("DELETE FROM run_items WHERE symbol = 'B'")
    assert _problem(run, installation) == (
        f"run {run.id}: 1 of 3 items are not in the ledger: numbers 1; the run counts 3 completed, 0 failed, 0"
        " cancelled, its items are 2 completed, 0 failed, 0 cancelled"
    )
    connection.execute("UPDATE run_items SET seq = 7 WHERE symbol = 'C'")
    assert "1 items are in the ledger that should not be: numbers 7" in _problem(run, installation)


def test_what_is_left_in_redis_is_named(run: Run, installation: Installation, streams: Streams) -> None:
    now_ms = round(datetime.now(UTC).timestamp() * 1000)
    streams.queues.add(run.queue, run.id, [Entry(run.id, 1, run.job, "B", "", now_ms).pack()])
    assert _problem(run, installation) == f"run {run.id}: 1 entries are left in queue tests after 0.1 s: B"
    streams.client.raw.delete(streams.keys.stream(run.queue))
    assert _problem(run, installation) == f"run {run.id}: queue tests counts 1 open items of it after 0.1 s"


def test_a_question_that_makes_no_sense_is_rejected(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownRunError, match="there is no run 999 in this installation"):
        assert_exactly_once(999, installation=installation)
    with pytest.raises(BadInputError, match="which columns of effects tell one effect from another"):
        assert_exactly_once(run, table="effects", installation=installation)
    with pytest.raises(BadInputError, match="none of the columns run_id is the symbol, the key or the seq of an item"):
        assert_exactly_once(run, table="effects", key=("run_id",), installation=installation)
    for name, value in installation.environment().items():
        monkeypatch.setenv(name, value)
    assert_exactly_once(run, table="effects", key=KEY)  # where the settings say
    monkeypatch.delenv("STREAMWORKERS_REDIS_URL")
    with pytest.raises(BadInputError, match="no installation"):
        assert_exactly_once(run)
