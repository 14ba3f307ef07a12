"""Metrics of the ledger, the bars, PostgreSQL and Redis, read at each scrape of a scheduler."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg_pool import ConnectionPool

from streamworkers.audit.seals import find_unsealed
from streamworkers.database import Connection
from streamworkers.diagnosis.postgres import read_database_state, read_table_sizes
from streamworkers.engine import ledger
from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.ledger.pauses import read_pauses
from streamworkers.engine.ledger.processes import read_processes
from streamworkers.engine.redis.lanes import list_queues_of
from streamworkers.engine.redis.streams import Streams
from streamworkers.loading.outages import list_outages
from streamworkers.market.bars.read import read_newest_of_all
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES
from streamworkers.results.read import count_recent_detections

DETECTION_HOURS = 24
STALE_HOURS = 24
_MOST_STALE = 1000
_KINDS = ("supervisor", "scheduler", "telegram", "api")
Family: TypeAlias = GaugeMetricFamily | CounterMetricFamily
Sample: TypeAlias = tuple[Sequence[str], float]


class _Kind(NamedTuple):
    """A metric: its name without the prefix, help text, labels, and whether it is a counter."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    is_counter: bool = False

    def family(self) -> Family:
        """Return the metric without samples."""
        kind = CounterMetricFamily if self.is_counter else GaugeMetricFamily
        return kind(f"streamworkers_{self.name}", self.text, labels=self.labels)


_ENQUEUED = _Kind("items_enqueued", "Items enqueued", ("queue", "job"), is_counter=True)
_RUNS = _Kind("runs", "Runs in the ledger, by status", ("job", "status"))
_STALE_RUNS = _Kind(
    "stale_runs", f"Targets whose newest run in the last {STALE_HOURS} hours had too many stale symbols", ("job",)
)
_OUTBOX = _Kind("outbox_events", "Events waiting to be published")
_OUTBOX_AGE = _Kind("outbox_oldest_age_seconds", "Age of the oldest waiting event; 0 if there is none")
_LAST_BAR = _Kind(
    "last_bar_timestamp_seconds", "Unix time of the start of the newest bar of a timeframe", ("timeframe",)
)
_DETECTED = _Kind(
    "patterns_detected", f"Patterns detected in the last {DETECTION_HOURS} hours", ("pattern", "direction")
)
_WRITTEN = _Kind("table_rows_written", "Rows inserted or updated in a table", ("table",), is_counter=True)
_TABLE = _Kind("table_bytes", "Size of a table, including indexes and partitions", ("table",))
_CONNECTIONS = _Kind("postgres_connections", "Connections to PostgreSQL from all programs")
_MOST_CONNECTIONS = _Kind("postgres_max_connections", "Maximum number of connections to PostgreSQL")
_SIZE = _Kind("postgres_size_bytes", "Size of the database")
_TRANSACTIONS = _Kind("postgres_transactions", "Transactions in the database", is_counter=True)
_MEMORY = _Kind("redis_memory_bytes", "Memory used by Redis")
_MOST_MEMORY = _Kind("redis_max_memory_bytes", "Memory limit of Redis; 0 if there is none")
_CLIENTS = _Kind("redis_connections", "Connections to Redis from all programs")
_SLOW = _Kind("redis_slow_calls", "Commands in the slow log of Redis")
_COMMANDS = _Kind("redis_commands", "Commands processed by Redis", is_counter=True)
_SUPERVISORS = _Kind("supervisors", "Supervisors with a current heartbeat")
_READERS = _Kind("queue_supervisors", "Supervisors with a current heartbeat that read a queue", ("queue",))
_PROCESSES = _Kind(
    "processes", "Supervisors and schedulers, by whether PostgreSQL has seen them lately", ("kind", "state")
)
_CALLS = _Kind(
    "provider_counted_calls", "Calls in the last minute that count towards a provider's rate limit", ("provider",)
)

_AWAY = _Kind("provider_away_seconds", "Time for which a provider of bars has been away", ("provider",))

_PAUSED = _Kind("queue_paused", "1 while a queue is paused, 0 for the other queues of the pool's jobs", ("queue",))
_UNSEALED = _Kind("audit_unsealed_seconds", "Age of the oldest row of the audit log without a seal; 0 if there is none")

_OF_POSTGRES = (
    *(_ENQUEUED, _RUNS, _STALE_RUNS, _OUTBOX, _OUTBOX_AGE, _LAST_BAR, _DETECTED, _WRITTEN, _TABLE, _CONNECTIONS),
    *(_MOST_CONNECTIONS, _SIZE, _TRANSACTIONS, _PROCESSES, _AWAY, _UNSEALED, _PAUSED),
)
_OF_REDIS = (_MEMORY, _MOST_MEMORY, _CLIENTS, _SLOW, _COMMANDS, _SUPERVISORS, _READERS, _CALLS)


class SystemCollector(Collector):
    """Reads PostgreSQL and Redis; gives no samples of one that cannot be read."""

    def __init__(self, pool: "ConnectionPool[Connection]", streams: Streams, scrapes: ScrapeBoard) -> None:
        self._pool = pool
        self._streams = streams
        self._scrapes = scrapes

    def describe(self) -> list[Family]:
        """Return the metrics without samples."""
        return [kind.family() for kind in (*_OF_POSTGRES, *_OF_REDIS)]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics with current samples."""
        for store, read in (("postgresql", self._of_postgres), ("redis", self._of_redis)):
            yield from _fill(self._scrapes.read(store, read) or {})

    def _of_postgres(self) -> dict[_Kind, Sequence[Sample]]:
        with self._pool.connection() as connection:
            enqueued = ledger_reports.read_enqueued_totals(connection)
            runs = ledger_reports.count_runs_by_state(connection)
            since = datetime.now(UTC) - timedelta(hours=STALE_HOURS)
            stale = Counter(row["job"] for row in ledger_reports.list_stale_runs(connection, since, _MOST_STALE))
            waiting, oldest = ledger.read_outbox_state(connection)
            tables = read_table_sizes(connection)
            database = read_database_state(connection)
            now = datetime.now(UTC)
            bars = {name: read_newest_of_all(connection, timeframe, now) for name, timeframe in TIMEFRAMES.items()}
            processes = Counter(
                (process.kind, "silent" if process.is_silent else "alive") for process in read_processes(connection)
            )
            outages = list_outages(connection)
            unsealed = find_unsealed(connection)
            pauses = read_pauses(connection)
            queues = {*pauses, *(each.queue for each in ledger.read_job_types(connection))}
            detected = count_recent_detections(connection, DETECTION_HOURS)
        return {
            _ENQUEUED: enqueued,
            _RUNS: runs,
            _STALE_RUNS: [((job,), stale[job]) for job in sorted({job for (job, _), _ in runs})],
            _OUTBOX: [((), waiting)],
            _OUTBOX_AGE: [((), oldest)],
            _LAST_BAR: [((name,), _unix(bar)) for name, bar in bars.items() if bar is not None],
            _DETECTED: detected,
            _WRITTEN: [((table,), rows) for table, rows, _ in tables],
            _TABLE: [((table,), size) for table, _, size in tables],
            _CONNECTIONS: [((), database["connections"])],
            _MOST_CONNECTIONS: [((), database["max_connections"])],
            _SIZE: [((), database["size_bytes"])],
            _TRANSACTIONS: [((), database["transactions"])],
            _PAUSED: [((queue,), int(queue in pauses)) for queue in sorted(queues)],
            _UNSEALED: [((), 0.0 if unsealed is None else unsealed.seconds)],
            _AWAY: [((outage.provider,), _seconds_since(outage.since)) for outage in outages],
            _PROCESSES: [((kind, state), processes[kind, state]) for kind in _KINDS for state in ("alive", "silent")],
        }

    def _of_redis(self) -> dict[_Kind, Sequence[Sample]]:
        state = self._streams.inspector.read_server_state()
        heartbeats = self._streams.inspector.read_heartbeats()
        return {
            _MEMORY: [((), state["used_memory"])],
            _MOST_MEMORY: [((), state.get("maxmemory", 0))],
            _CLIENTS: [((), state["connected_clients"])],
            _SLOW: [((), state["slow_calls"])],
            _COMMANDS: [((), state["total_commands_processed"])],
            _SUPERVISORS: [((), len(heartbeats))],
            _READERS: list(
                Counter((queue,) for each in heartbeats.values() for queue in list_queues_of(each.queues)).items()
            ),
            _CALLS: [((provider,), calls) for provider, calls in self._streams.rate_limiter.count_calls().items()],
        }


def _fill(found: dict[_Kind, Sequence[Sample]]) -> Iterable[Metric]:
    for kind, samples in found.items():
        family = kind.family()
        for labels, value in samples:
            family.add_metric(labels, value)
        yield family


def _seconds_since(moment: datetime) -> float:
    return max(0.0, (datetime.now(UTC) - moment).total_seconds())


def _unix(bar: date | datetime) -> float:
    moment = bar if isinstance(bar, datetime) else datetime.combine(bar, time(), EXCHANGE_ZONE)
    return moment.astimezone(UTC).timestamp()
