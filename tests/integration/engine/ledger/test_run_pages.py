"""However runs are chosen, a page of them is found without reading most of the ledger."""

from collections.abc import Iterator
from typing import Any

import pytest

from harness import ServiceUrls
from services import own_database
from streamworkers.database import Connection, connect
from streamworkers.engine.ledger.run_pages import RunFilter, choose_runs

RUNS = 20_000
# One in a hundred has failed; the schedule `rare` had ten of the oldest runs.
_FILL = """
    INSERT INTO runs (job, queue, target, item_count, max_attempts, status, schedule, created_at)
    SELECT 'job' || n % 4, 'tests', 'x', 0, 1, CASE WHEN n <= 20 THEN 'FAILED' ELSE 'COMPLETED' END,
        CASE WHEN n <= 10 THEN 'rare' WHEN n % 2 = 0 THEN 'often' END, now() - make_interval(mins => 20000 - n)
    FROM generate_series(1, 20000) AS n
"""
_RARE: dict[str, dict[str, Any]] = {
    "runs_of_status": {"status": "FAILED"},
    "runs_of_schedule_name": {"schedule": "rare"},
    "runs_of_job": {"job": "gone"},
    "runs_created": {"since": True},
}


@pytest.fixture(scope="module")
def filled(service_urls: ServiceUrls) -> Iterator[Connection]:
    """A ledger with many runs."""
    with own_database(service_urls) as url, connect(url, application="test") as connection:
        connection.execute(_FILL)
        connection.execute("VACUUM ANALYZE runs")
        yield connection


def _blocks(connection: Connection, wanted: dict[str, Any]) -> int:
    """How many blocks the statement of a page reads."""
    if wanted.get("since"):
        row = connection.execute("SELECT now() - interval '10 minutes'").fetchone()
        assert row is not None
        wanted = {"since": row[0]}
    statement, values = choose_runs(None, RunFilter(**wanted))
    text = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement} ORDER BY r.id DESC LIMIT 50"
    row = connection.execute(text.encode(), values).fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize(
    "wanted", [{}, {"status": "COMPLETED"}, {"job": "job1"}, {"schedule": "often"}, {"before_id": 10}, *_RARE.values()]
)
def test_a_page_reads_few_blocks(filled: Connection, wanted: dict[str, Any]) -> None:
    assert _blocks(filled, wanted) < 150


@pytest.mark.parametrize("index", _RARE)
def test_without_its_index_a_page_reads_the_ledger(filled: Connection, index: str) -> None:
    with filled.transaction(force_rollback=True):
        filled.execute(f"DROP INDEX {index}".encode())
        assert _blocks(filled, _RARE[index]) > 400
