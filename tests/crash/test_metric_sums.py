"""The sum over all processes of what their counters say is the work that was done: after kills, recycling, scale-in."""

import os
import random
import signal
import threading
import urllib.error
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import Supervisor, running_supervisor, start_run, wait_until
from patience import patient
from streamworkers.database import Connection
from streamworkers.engine.ledger.reports import read_enqueued_totals
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

ITEMS = int(os.environ.get("SUM_ITEMS", "1500"))
KILLS = int(os.environ.get("SUM_KILLS", "6"))


@pytest.fixture
def environment(quick_environment: dict[str, str]) -> dict[str, str]:
    """Everything here is about the engine."""
    return quick_environment


class Scraper(threading.Thread):
    """Reads every supervisor again and again, as Prometheus does, and remembers the last figures of each."""

    def __init__(self) -> None:
        super().__init__(name="scraper", daemon=True)
        self.urls: list[str] = []
        self._last: dict[str, dict[str, float]] = {}
        self._stop_requested = threading.Event()

    def stop(self) -> None:
        """End the thread."""
        self._stop_requested.set()
        self.join(patient(30))

    def run(self) -> None:
        """The loop."""
        while not self._stop_requested.wait(0.1):
            for url in list(self.urls):
                try:
                    with urllib.request.urlopen(f"{url}/metrics", timeout=patient(30)) as answer:
                        text = answer.read().decode()
                except OSError:
                    continue
                self._last[url] = {
                    f"{sample.name} {sample.labels.get('outcome', '')}".strip(): sample.value
                    for family in text_string_to_metric_families(text)
                    for sample in family.samples
                    if sample.labels.get("job") == "ledger_entry"
                }

    def total(self, name: str) -> float:
        """The sum over all supervisors that ever were."""
        return sum(figures.get(name, 0.0) for figures in list(self._last.values()))


@pytest.mark.timeout(ITEMS / 10 + 120)
@pytest.mark.parametrize("size", [ITEMS, 3], ids=["one run", "small runs"])
def test_counters_add_up_to_the_ledger_after_kills_recycling_and_scale_in(
    size: int, connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    environment |= {"STREAMWORKERS_LAST_SCRAPE_SECONDS": str(patient(20))}
    symbols = [f"S{number:05}" for number in range(ITEMS)]
    for first in range(0, ITEMS, size):
        part = symbols[first : first + size]
        start_run(connection, streams, registry, "ledger_entry", *part, parameters={"milliseconds": 4.0})
    rng, scraper = random.Random(5), Scraper()
    finished = "streamworkers_items_finished_total completed"
    scraper.start()

    def completed() -> int:
        row = connection.execute("SELECT count(*) FROM run_items WHERE status = 'completed'").fetchone()
        assert row is not None
        return int(row[0])

    with ExitStack() as stack:
        stack.callback(scraper.stop)

        def start() -> Supervisor:
            words = ("--processes", "2", "--queue", "tests", "--metrics-port", "0", "--max-items", str(ITEMS // 8))
            supervisor = stack.enter_context(running_supervisor(environment, tmp_path, *words))
            scraper.urls.append(supervisor.metrics_url())
            return supervisor

        pool = [start(), start(), start()]
        for number in range(KILLS):
            share = ITEMS * (number + 1) // (KILLS + 3)
            wait_until(lambda share=share: completed() >= share, 120, f"{share} items are completed")  # type: ignore[misc]
            victim = rng.choice(pool)
            wait_until(victim.worker_pids, 30, "a worker to kill")
            pids = victim.worker_pids()
            if pids:
                os.kill(rng.choice(pids), signal.SIGKILL)
            if number in (KILLS // 3, 2 * KILLS // 3):
                assert pool.pop(0).stop() == 0
        wait_until(lambda: completed() == ITEMS, 120, "all items are completed")
        wait_until(lambda: scraper.total(finished) >= ITEMS, 60, "they are counted")
        for supervisor in pool:
            assert supervisor.stop() == 0
    counts = Counter(status for (status,) in connection.execute("SELECT status FROM run_items").fetchall())
    assert counts == {"completed": ITEMS}
    assert scraper.total(finished) == ITEMS
    assert scraper.total("streamworkers_items_finished_total failed") == 0
    assert scraper.total("streamworkers_items_started_total") >= ITEMS
    assert scraper.total("streamworkers_batch_items_sum") == scraper.total("streamworkers_items_started_total")
    assert read_enqueued_totals(connection) == [(("tests", "ledger_entry"), ITEMS)]
