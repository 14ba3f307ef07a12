"""As-of is a moment: a run sees the bars that were closed then, and nothing that came later, in every timeframe.

The end of a bar's window is computed here from the exchange's sessions alone, without the rule that is tested.
"""

import gzip
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from streamworkers.database import Connection
from streamworkers.engine.job import Context, Job, RunRequest
from streamworkers.engine.outcome import Completed, Item, Outcome
from streamworkers.jobs.analysis import Indicators, Patterns
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars import as_of as as_of_rule
from streamworkers.market.bars.write import ensure_minute_partition, load_rows
from streamworkers.market.calendar.sessions import ExchangeSession, compute_sessions
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import Windows
from streamworkers.market.files.bars_import import import_bars

NEW_YORK = ZoneInfo("America/New_York")
FIRST, LAST = date(2020, 1, 1), date(2021, 5, 14)
SYMBOLS = ("AAPL", "JPM", "MSFT")
JOBS: tuple[type[Job[Any]], ...] = (Indicators, Patterns)
# Sessions of minutes: around the changes of the clocks, early closes, a holiday, a weekend, the end of a month.
MINUTE_DAYS = [
    *(date(2020, 3, 6), date(2020, 3, 9), date(2020, 10, 30), date(2020, 11, 2)),
    *(date(2020, 11, 25), date(2020, 11, 27), date(2020, 12, 24), date(2020, 12, 28), date(2021, 4, 30)),
]
CLOCKS = [
    *("00:00", "09:29:59.999", "09:30", "09:31", "10:00", "12:30", "12:59:59.999", "13:00", "13:00:00.001", "15:00"),
    *("15:30", "15:59:59.999", "16:00", "16:00:00.001", "18:10", "23:59:59.999999"),
]
PARAMETERS = {
    "indicators": {
        "indicator_definitions": [
            {"name": "sma_5", "function": "SMA", "params": {"timeperiod": 5}},
            {"name": "rsi_14", "function": "RSI", "params": {"timeperiod": 14}},
            {"name": "obv", "function": "OBV", "params": {}},
        ],
        "max_bars": 80,
    },
    "patterns": {
        "pattern_definitions": [
            {"name": name, "function": f"CDL{name.upper()}", "params": {}, "confidence_threshold": 0.0}
            for name in ("engulfing", "harami", "doji", "marubozu", "belthold", "closingmarubozu", "spinningtop")
        ],
        "max_bars": 80,
        "last_bars": 3,
    },
}


@dataclass(frozen=True)
class Sessions:
    """The oracle: when each bar ends, by a list of sessions."""

    by_day: dict[date, ExchangeSession]

    def end_of(self, timeframe: str, start: date | datetime) -> datetime:
        """The end of a bar's window."""
        if isinstance(start, datetime):
            end = start + (timedelta(minutes=1) if timeframe == "1min" else timedelta(hours=1))
            return min(end, self.by_day[start.astimezone(NEW_YORK).date()].closes)
        last = start
        if timeframe == "week":
            last += timedelta(days=6)
        if timeframe == "month":
            last = (start.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
        return max(session.closes for day, session in self.by_day.items() if start <= day <= last)


@pytest.fixture(scope="module")
def sessions() -> Sessions:
    """The sessions of New York around the bars of these tests."""
    found = compute_sessions("XNYS", FIRST - timedelta(days=900), LAST + timedelta(days=40)).sessions
    return Sessions({session.day: session for session in found})


def _copy_intraday(connection: Connection, sessions: Sessions) -> None:
    """Hours of all sessions, from the opening, and minutes of some."""
    random = np.random.default_rng(5)
    for day in MINUTE_DAYS:
        ensure_minute_partition(connection, sessions.by_day[day].opens)
    for table, days, width in (
        ("ohlcv_hourly", [day for day in sessions.by_day if FIRST <= day <= LAST], 60),
        ("ohlcv_1min", MINUTE_DAYS, 1),
    ):
        with connection.cursor().copy(
            f"COPY {table} (symbol, timestamp, open, high, low, close, volume) FROM STDIN"
        ) as copy:
            for symbol in SYMBOLS:
                price = 100.0
                for day in days:
                    session = sessions.by_day[day]
                    start = session.opens
                    while start < session.closes:
                        opened, price = price, price * float(np.exp(0.002 * random.standard_normal()))
                        low, high = min(opened, price) * 0.999, max(opened, price) * 1.001
                        copy.write_row((symbol, start, opened, high, low, price, int(random.integers(1, 10_000))))
                        start += timedelta(minutes=width)


def _widen_days(connection: Connection) -> None:
    for table, unit in (("ohlcv_weekly", "week"), ("ohlcv_monthly", "month")):
        connection.execute(
            f"INSERT INTO {table} (symbol, date, open, high, low, close, volume)"
            f" SELECT symbol, date_trunc('{unit}', date)::date, (array_agg(open ORDER BY date))[1], max(high),"
            " min(low), (array_agg(close ORDER BY date DESC))[1], sum(volume) FROM ohlcv_daily GROUP BY 1, 2"
        )


@pytest.fixture
def bars(connection: Connection, sessions: Sessions) -> None:
    """Synthetic bars of three symbols in every timeframe."""
    load_rows(connection, TIMEFRAMES["day"], generate_bars(3, 850, 7, LAST))
    for number, symbol in enumerate(SYMBOLS, 1):
        connection.execute("UPDATE ohlcv_daily SET symbol = %s WHERE symbol = %s", (symbol, f"SYN{number:03d}"))
    _widen_days(connection)
    _copy_intraday(connection, sessions)


@pytest.fixture
def real_bars(connection: Connection, market_data: Path, tmp_path: Path) -> None:
    """Real days of three symbols, and weeks and months made of them."""
    with gzip.open(market_data / "sp500_daily_2016_2021.csv.gz", "rt") as whole:
        lines = [next(whole), *(line for line in whole if any(f"{symbol}," in line for symbol in SYMBOLS))]
    (tmp_path / "bars.csv").write_text("".join(lines))
    import_bars(connection, [tmp_path / "bars.csv"], TIMEFRAMES["day"])
    connection.execute("DELETE FROM ohlcv_daily WHERE symbol <> ALL(%s)", (list(SYMBOLS),))
    _widen_days(connection)


def _run(connection: Connection, job: type[Job[Any]], timeframe: str, moment: datetime) -> list[Outcome]:
    """The outcomes of a run as of a moment, without queue and ledger."""
    request = RunRequest(job.name, SYMBOLS, "test", timeframe, moment, dict(PARAMETERS[job.name]))
    made = job()
    prepared = made.prepare(connection, request)
    values = made.parameters.model_validate(prepared.parameters)
    unused = cast("Any", None)
    context = Context(1, prepared.timeframe, prepared.as_of, values, connection, unused, unused, lambda: False)
    items = [Item(1, seq, symbol, timeframe, 1) for seq, symbol in enumerate(SYMBOLS)]
    return list(made.execute(items, context))


def _shown(outcomes: Sequence[Outcome]) -> list[str]:
    # A deletion of bars changes the version of the stored series, and so what is to be computed again, but no value.
    return [re.sub(r"\b(series_version|version|recomputes)=\w+", "", repr(outcome)) for outcome in outcomes]


def _newest_of(outcomes: Sequence[Outcome]) -> set[datetime]:
    return {outcome.value.scan.last_bar for outcome in outcomes if isinstance(outcome, Completed) and outcome.value}


class _RolledBackError(Exception):
    """Ends a transaction that must leave nothing."""


def _run_without(
    connection: Connection, later: Sequence[date | datetime], timeframe: Timeframe, moment: datetime
) -> list[list[Outcome]]:
    """The outcomes of both jobs as of a moment after the bars that end later have been deleted."""
    statement = f"DELETE FROM {timeframe.table} WHERE {timeframe.time_column} = ANY(%s)"
    found: list[list[Outcome]] = []
    try:
        with connection.transaction():
            connection.execute(statement, (later,))
            found = [_run(connection, job, timeframe.name, moment) for job in JOBS]
            raise _RolledBackError
    except _RolledBackError:
        return found


def _moments(timeframe: str, sessions: Sessions) -> Iterator[datetime]:
    """Moments around every kind of session; at some of them bars of the timeframe are open."""
    if timeframe in ("1min", "hour"):
        days = MINUTE_DAYS[1:]
    else:
        kinds = [(2020, 11, 26), (2020, 11, 29), (2020, 12, 31), (2021, 1, 1), (2021, 4, 1), (2021, 4, 2), (2021, 5, 5)]
        days = [*MINUTE_DAYS, *(date(*kind) for kind in kinds)]
    for number, day in enumerate(days):
        # Not all of them each day: the days of a kind share them.
        for clock in CLOCKS if timeframe in ("1min", "hour") else CLOCKS[number % 2 :: 2]:
            yield datetime.combine(day, time.fromisoformat(clock), NEW_YORK)
    random = np.random.default_rng(11)
    for _ in range(12):
        day = days[int(random.integers(len(days)))]
        seconds = int(random.integers(34_000, 60_000))
        yield datetime.combine(day, time(), NEW_YORK) + timedelta(seconds=seconds)


def _sweep(connection: Connection, sessions: Sessions, timeframe: Timeframe) -> tuple[int, int, int]:
    """The number of cases, of those that later bars changed, and of those whose newest bar was not the right one."""
    cases = changed = wrong = 0
    starts = [row[0] for row in connection.execute(f"SELECT DISTINCT {timeframe.time_column} FROM {timeframe.table}")]
    ends = {start: sessions.end_of(timeframe.name, start) for start in starts if _since(start) >= FIRST}
    by_end = sorted(ends, key=lambda start: (ends[start], start))
    for moment in _moments(timeframe.name, sessions):
        first_open = bisect_right(by_end, moment, key=ends.__getitem__)
        closed = by_end[first_open - 1]
        expected = closed if isinstance(closed, datetime) else datetime.combine(closed, time(), NEW_YORK)
        without = _run_without(connection, by_end[first_open:], timeframe, moment)
        for job, alone in zip(JOBS, without, strict=True):
            found = _run(connection, job, timeframe.name, moment)
            cases += 1
            wrong += _newest_of(found) != {expected}
            changed += _shown(found) != _shown(alone)
    return cases, changed, wrong


def _since(start: date | datetime) -> date:
    return start.date() if isinstance(start, datetime) else start


LEAST_CASES = {"1min": 250, "hour": 250, "day": 250, "week": 250, "month": 250}


@pytest.mark.usefixtures("bars")
def test_bars_of_hours_by_the_clock_that_end_later_change_no_result(connection: Connection, sessions: Sessions) -> None:
    connection.execute("UPDATE ohlcv_hourly SET timestamp = timestamp - interval '30 minutes'")
    cases, changed, wrong = _sweep(connection, sessions, TIMEFRAMES["hour"])
    assert (changed, wrong) == (0, 0)
    assert cases >= LEAST_CASES["hour"]


@pytest.mark.usefixtures("bars")
@pytest.mark.parametrize("name", list(TIMEFRAMES))
def test_bars_that_end_later_change_no_result(
    name: str, connection: Connection, sessions: Sessions, record_property: Any
) -> None:
    cases, changed, wrong = _sweep(connection, sessions, TIMEFRAMES[name])
    record_property("cases", cases)
    assert (changed, wrong) == (0, 0)
    assert cases >= LEAST_CASES[name]


@pytest.mark.market_data
@pytest.mark.usefixtures("real_bars")
@pytest.mark.parametrize("name", ["day", "week", "month"])
def test_real_bars_that_end_later_change_no_result(
    name: str, connection: Connection, sessions: Sessions, record_property: Any
) -> None:
    cases, changed, wrong = _sweep(connection, sessions, TIMEFRAMES[name])
    record_property("cases", cases)
    assert (changed, wrong) == (0, 0)
    assert cases >= LEAST_CASES[name]


@pytest.mark.usefixtures("bars")
@pytest.mark.parametrize("name", list(TIMEFRAMES))
def test_control_without_the_rule_later_bars_change_results(
    name: str, connection: Connection, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_newest_started(windows: Windows, timeframe: Timeframe, moment: datetime) -> date | datetime:
        del windows
        if timeframe.intraday:
            return moment
        return moment.astimezone(NEW_YORK).date()

    monkeypatch.setattr(as_of_rule, "find_newest_closed", find_newest_started)
    # The newest bar that exists up to there, as a run without a named as-of has it.
    monkeypatch.setattr(as_of_rule, "find_common_newest", lambda times, _: max(times, default=None))
    cases, changed, _ = _sweep(connection, sessions, TIMEFRAMES[name])
    assert changed > cases / 20
