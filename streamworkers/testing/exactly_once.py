"""What must hold of a run that has ended, whatever was killed meanwhile: each item closed once, each effect once."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from psycopg import sql

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import OPEN_STATES, Run
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.services.queue_scan import QueueScan
from streamworkers.errors import BadInputError, UnknownRunError
from streamworkers.testing.installation import Installation

_ITEM_COLUMNS = ("symbol", "key", "timeframe", "run_id", "seq")
_SHOWN = 10
_ENTRY_BYTES = 1 << 20
_COUNTS = "SELECT completed_count, failed_count, cancelled_count FROM runs WHERE id = %s"
_ITEMS = "SELECT seq, symbol, timeframe, status FROM run_items WHERE run_day = %s AND run_id = %s ORDER BY seq"


class HasRunId(Protocol):
    """A run by its id, such as the handle of a client."""

    @property
    def id(self) -> int:
        """The number of the run."""


class LedgerItem(NamedTuple):
    """An item of the ledger, by the names that columns of effects may have."""

    run_id: int
    seq: int
    symbol: str
    timeframe: str | None
    status: str

    @property
    def key(self) -> str:
        """What identifies the item in its run."""
        return self.symbol


def assert_exactly_once(
    run: HasRunId | int,
    *,
    table: str | None = None,
    key: Sequence[str] | Mapping[str, str] = (),
    installation: Installation | None = None,
    seconds: float = 30.0,
) -> None:
    """Assert that a run has ended, with each item closed once, each effect there once, and nothing left in Redis.

    `table` is where the job's effects are, a row for each, and `key` its columns that tell one effect from another:
    `symbol` (or `key`), `timeframe`, `run_id` and `seq` are those of the item. Of columns with other names, a mapping
    says which of these they are: `{"ticker": "symbol"}`; what is none of these, such as a date, only tells rows of one
    item apart. Each completed item has a row, and no two rows have the same key. Where `run_id` is in the key, no other
    item of the run has one.

    Waits at most `seconds` for what a killed worker has left in Redis. Raises AssertionError naming what is missing,
    doubled or left. The installation is that of the test's `sw_installation` unless it is given.
    """
    number = run if isinstance(run, int) else run.id
    at = installation or Installation.current()
    with at.connect() as connection:
        ended = ledger.load_run(connection, number)
        if ended is None:
            raise UnknownRunError(f"there is no run {number} in this installation")
        items = [LedgerItem(number, *row) for row in connection.execute(_ITEMS, (ended.run_day, number))]
        problems = _check_open(ended, items)
        if not problems:
            problems = _check_ledger(ended, items, connection.execute(_COUNTS, (number,)).fetchone())
            problems += _check_effects(connection, items, table, key) if table is not None else []
            streams = open_streams(at.redis_url, at.key_prefix)
            try:
                problems += _check_redis(streams, ended, items, seconds)
            finally:
                streams.close()
    if problems:
        raise AssertionError(f"run {number}: " + "; ".join(problems))


def _check_open(run: Run, items: Sequence[LedgerItem]) -> list[str]:
    """Return why a run has not ended."""
    if not run.is_prepared and run.is_open:
        return [f"it is {run.status}, and no process of the pool has prepared it"]
    if open_items := [_name(item) for item in items if item.status in OPEN_STATES]:
        return [f"it is {run.status}: {len(open_items)} of {run.item_count} items are open: {_show(open_items)}"]
    return [f"it is {run.status}, although none of its items is open"] if run.is_open else []


def _check_ledger(run: Run, items: Sequence[LedgerItem], counts: Sequence[int | None] | None) -> list[str]:
    """Return what is wrong with the ledger of a run: missing or doubled items, counts that do not agree."""
    problems = []
    seqs = Counter(item.seq for item in items)
    if missing := sorted(set(range(run.item_count)) - seqs.keys()):
        problems.append(f"{len(missing)} of {run.item_count} items are not in the ledger: numbers {_show(missing)}")
    if doubled := [seq for seq, count in seqs.items() if count > 1 or seq >= run.item_count]:
        problems.append(f"{len(doubled)} items are in the ledger that should not be: numbers {_show(doubled)}")
    states = Counter(item.status for item in items)
    found = {name: states[name] for name in ("completed", "failed", "cancelled")}
    counted = dict(zip(found, counts or (), strict=True))
    if found != counted:
        problems.append(f"the run counts {_show_counts(counted)}, its items are {_show_counts(found)}")
    return problems


def _check_effects(
    connection: Connection, items: Sequence[LedgerItem], table: str, key: Sequence[str] | Mapping[str, str]
) -> list[str]:
    """Return which effects are missing, doubled, or of an item that was not completed."""
    columns = dict(key) if isinstance(key, Mapping) else {name: name for name in key}
    if not columns:
        raise BadInputError(f"which columns of {table} tell one effect from another? key=('symbol',), for example")
    of_item = {name: field for name, field in columns.items() if field in _ITEM_COLUMNS}
    if not {"symbol", "key", "seq"} & {*of_item.values()}:
        raise BadInputError(f"none of the columns {', '.join(columns)} is the symbol, the key or the seq of an item")
    places = [place for place, name in enumerate(columns) if name in of_item]
    wanted = {tuple(getattr(item, field) for field in of_item.values()): item for item in items}
    rows = Counter(_read_keys(connection, table, list(columns)))
    effects: Counter[tuple[Any, ...]] = Counter()
    doubled = []
    for row, count in rows.items():
        name = tuple(row[place] for place in places)
        effects[name] += count
        if count > 1 and name in wanted:
            doubled.append(f"{_name(wanted[name])} ({count} rows)")
    problems = []
    if lost := [_name(item) for name, item in wanted.items() if item.status == "completed" and not effects[name]]:
        problems.append(f"{len(lost)} completed items have no effect in {table}: {_show(lost)}")
    if doubled:
        problems.append(f"{len(doubled)} effects are in {table} more than once: {_show(doubled)}")
    others = [_name(item) for name, item in wanted.items() if item.status != "completed" and effects[name]]
    if others and "run_id" in of_item.values():
        problems.append(f"{len(others)} items that are not completed have an effect in {table}: {_show(others)}")
    return problems


def _read_keys(connection: Connection, table: str, columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return connection.execute(sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(*table.split("."))))


def _check_redis(streams: Streams, run: Run, items: Sequence[LedgerItem], seconds: float) -> list[str]:
    """Return what is left of a run in Redis after so many seconds at most."""
    deadline, pause = time.monotonic() + seconds, 0.02
    while True:
        entries = _find_entries(streams, run, items)
        count = streams.inspector.read_open_counts_of(run.queue, [run.id])[run.id]
        if not entries and not count:
            return []
        if time.monotonic() > deadline:
            break
        time.sleep(pause)
        pause = min(1.5 * pause, 0.5)
    if entries:
        return [f"{len(entries)} entries are left in queue {run.queue} after {seconds:g} s: {_show(entries)}"]
    return [f"queue {run.queue} counts {count} open items of it after {seconds:g} s"]


def _find_entries(streams: Streams, run: Run, items: Sequence[LedgerItem]) -> list[str]:
    """Return the items of which an entry is in the stream or in the delayed set."""
    scan = QueueScan(streams, run.queue, [run], _ENTRY_BYTES)
    scan.finish()
    return [_name(item) for item in items if item.seq < run.item_count and scan.has_seen(run.id, item.seq)]


def _name(item: LedgerItem) -> str:
    return item.key if item.timeframe is None else f"{item.key} {item.timeframe}"


def _show(names: Iterable[object]) -> str:
    """Return the first of these names, and how many more there are."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _show_counts(counts: Mapping[str, int | None]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
