"""A simulated time of schedules with everything that could lose or double a tick, by a clock that the simulation turns.

Two replicas with calendars of their own take turns, and hear of early closes before, on or after the day; schedules are
changed, paused, resumed, removed and added, by commands and by SQL; for days no replica runs; and some passes are
killed at one of their statements. The simulation keeps its own list of which times each schedule had from when to when,
and counts the ticks of them with the calendar as it is at the end.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import takewhile
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from scheduler.metrics import SchedulerMetrics
from scheduler.ticker import Ticker
from scheduling import NEW_YORK, Clock, changing_at, end_runs
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.market.calendar.sessions import ExchangeSession, compute_sessions, keep_sessions
from streamworkers.market.universes.store import resolve
from streamworkers.schedules import store
from streamworkers.schedules.account import TickAccount, TickPeriod
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.tick_accounts import account_for
from streamworkers.schedules.timing import Timing

BEGIN = datetime(2040, 1, 2, 5, 0, tzinfo=NEW_YORK)
_FIRST, _LAST = date(2038, 1, 1), date(2044, 12, 31)
_RULES = (
    *(("session_close+10m", "XNYS"), ("session_open-30m", "XNYS"), ("session_close+1h30m", "XNYS")),
    *(("10 18 * * *", "XNYS"), ("30 9,13 * * 1-5", None), ("0 */6 * * *", None), ("every 7h", None)),
    *(("30 2 * * *", None), ("45 16 * * MON#1", None), ("15 13 * * *", "XNYS")),
)
_HOURS = (6.0, 11.2, 13.4, 14.5, 16.6, 20.0)
_EDITS = ("cron", "policy", "pause", "resume", "remove", "add", "sql")


class Killed(psycopg.OperationalError):
    """The process of a replica was killed at a statement."""


@dataclass
class _Calendar:
    """What one replica knows of the exchange."""

    sessions: list[ExchangeSession]
    early: set[date] = field(default_factory=set)

    def use(self) -> None:
        closes = [
            replace(each, closes=each.closes - timedelta(hours=3)) if each.day in self.early else each
            for each in self.sessions
        ]
        keep_sessions("XNYS", _FIRST, _LAST, closes)


@dataclass(frozen=True)
class _Valid:
    schedule_id: int
    definition: ScheduleDefinition
    since: datetime


@dataclass
class Outcome:
    """The account by the product, the ticks that the simulation counted, and what happened to them."""

    account: TickAccount
    expected: int
    stored: int
    events: dict[str, int]

    @property
    def closes(self) -> bool:
        """Whether all three are the same: ticks counted by the simulation, ticks by the product, and rows."""
        has_all = self.account.unaccounted == 0 and self.account.undecided == 0
        return has_all and self.expected == self.account.ticks == self.account.rows == self.stored


@dataclass(frozen=True)
class Shares:
    """How often things happen: of the days with outages and early closes, of the mornings with edits, of the passes."""

    outages: float = 0.03
    early_closes: float = 0.1
    edits: float = 0.5
    kills: float = 0.1


class Simulation:
    """Schedules over some days; the same seed has the same events."""

    def __init__(
        self,
        pool: "ConnectionPool[Connection]",
        connection: Connection,
        streams: Streams,
        registry: Registry,
        seed: int,
    ) -> None:
        self.connection, self.rng, self.clock, self.shares = connection, random.Random(seed), Clock(BEGIN), Shares()
        sessions = list(compute_sessions("XNYS", _FIRST, _LAST).sessions)
        self.calendars = [_Calendar(sessions), _Calendar(sessions)]
        metrics = SchedulerMetrics()
        self.replicas = [Ticker(pool, streams, registry, resolve, metrics, self.clock) for _ in self.calendars]
        self.valid: dict[str, _Valid] = {}
        self.expected: list[tuple[_Valid, datetime]] = []
        self.events = dict.fromkeys(("edits", "early closes", "outages", "kills", "passes"), 0)
        self._number = 0
        self._news: list[tuple[datetime, int, date]] = []

    def run(self, schedules: int, days: int) -> Outcome:
        """Let the days pass, and account for them."""
        self.calendars[0].use()
        for _ in range(schedules):
            self._edit("add", schedules)
        away_until = BEGIN
        for day in range(days):
            today = BEGIN + timedelta(days=day)
            if self.rng.random() < self.shares.outages and today >= away_until:
                self.events["outages"] += 1
                away_until = today + timedelta(days=3)
            self._announce(today)
            for hour in _HOURS:
                self.clock.now = today.replace(hour=0) + timedelta(hours=hour + self.rng.random() / 10)
                if hour < 7 and self.rng.random() < self.shares.edits:
                    for _ in range(max(1, schedules // 30)):
                        self._edit(self.rng.choice(_EDITS), schedules)
                if self.clock.now >= away_until:
                    self._pass()
            end_runs(self.connection)
        self.clock.now = BEGIN + timedelta(days=days)
        return self._account()

    def _announce(self, today: datetime) -> None:
        """Have the exchange close early today, or not; each replica is told before, on the day or after it."""
        session = next((each for each in self.calendars[0].sessions if each.day >= today.date()), None)
        if session is None or session.day != today.date() or self.rng.random() > self.shares.early_closes:
            return
        if session.closes - session.opens < timedelta(hours=5):
            return
        self.events["early closes"] += 1
        for replica in (0, 1):
            after = timedelta(hours=self.rng.choice((-20, 3, 7, 9, 13, 30)))
            self._news.append((today + after, replica, session.day))

    def _pass(self) -> None:
        """Let each replica decide what is due, with what it knows now; some die on the way."""
        for when, replica, day in [news for news in self._news if news[0] <= self.clock.now]:
            self.calendars[replica].early.add(day)
            self._news.remove((when, replica, day))
        order = [0, 1] if self.rng.random() < 0.5 else [1, 0]
        for replica in order[: self.rng.choice((1, 2, 2))]:
            self.calendars[replica].use()
            self.events["passes"] += 1
            if self.rng.random() < self.shares.kills:
                with suppress(Killed), _killing(self.connection, self.rng.randrange(1, 60)):
                    self._decide(replica)
                    continue
                self.events["kills"] += 1
            else:
                self._decide(replica)

    def _decide(self, replica: int) -> None:
        while self.replicas[replica].run_once() == 0.0:
            continue

    def _account(self) -> Outcome:
        for calendar in self.calendars:
            calendar.early |= {day for _, _, day in self._news}
            calendar.early |= self.calendars[0].early | self.calendars[1].early
        self.calendars[0].use()
        self._decide(0)
        total = TickAccount()
        for found in account_for(self.connection, TickPeriod(BEGIN - timedelta(days=1), self.clock.now)):
            assert found.notes == []
            total.add(found.account)
        ended = [*self.expected, *((valid, self.clock.now) for valid in self.valid.values())]
        expected = sum(_count(valid, until) for valid, until in ended)
        row = self.connection.execute("SELECT sum(tick_count) FROM ticks WHERE timing_id IS NOT NULL").fetchone()
        return Outcome(total, expected, 0 if row is None else row[0], self.events)

    def _edit(self, kind: str, schedules: int) -> None:
        names = sorted(self.valid)
        if kind == "add" and len(names) >= schedules:
            return
        if kind != "add" and not names:
            return
        self.events["edits"] += 1
        with changing_at(self.connection, self.clock.now):
            if kind == "add":
                self._number += 1
                self._save(None, self._invent(f"s{self._number}"))
                return
            name = self.rng.choice(names)
            before = self.valid[name].definition
            if kind == "remove":
                self._end(name)
                store.remove_schedule(self.connection, name)
            elif kind in ("pause", "resume"):
                store.set_enabled(self.connection, name, kind == "resume")
                self._replace(name, before.model_copy(update={"enabled": kind == "resume"}))
            elif kind == "sql":
                cron, calendar = self.rng.choice(_RULES)
                statement = "UPDATE schedules SET cron = %s, calendar = %s WHERE name = %s"
                self.connection.execute(statement, (cron, calendar, name))
                self._replace(name, before.model_copy(update={"cron": cron, "calendar": calendar}))
            elif kind == "policy":
                self._save(name, before.model_copy(update={"catch_up": self.rng.choice(("skip", "latest", "all"))}))
            else:
                changed = self._invent(name)
                self._save(name, changed.model_copy(update={"enabled": before.enabled}))

    def _invent(self, name: str) -> ScheduleDefinition:
        cron, calendar = self.rng.choice(_RULES)
        fields: dict[str, Any] = {
            "name": name,
            "job": "noop",
            "target": {"symbols": ["A"]},
            "cron": cron,
            "calendar": calendar,
            "catch_up": self.rng.choice(("skip", "latest", "all")),
            "coalesce": self.rng.random() < 0.5,
            "misfire_grace_seconds": self.rng.choice((0, 300, 86_400)),
            "jitter_seconds": self.rng.choice((0, 0, 60)),
        }
        return ScheduleDefinition.parse(fields)

    def _save(self, old_name: str | None, definition: ScheduleDefinition) -> None:
        store.save_schedule(self.connection, definition, old_name=old_name)
        self._replace(definition.name, definition)

    def _replace(self, name: str, definition: ScheduleDefinition) -> None:
        before = self.valid.get(name)
        rules = [
            (each.cron, each.calendar, each.enabled) for each in (before and before.definition, definition) if each
        ]
        if len(rules) == 2 and rules[0] == rules[1]:
            assert before is not None
            self.valid[name] = replace(before, definition=definition)
            return
        if before is not None:
            self._end(name)
        schedule = store.require_schedule(self.connection, name)
        self.valid[name] = _Valid(schedule.id, definition, self.clock.now)

    def _end(self, name: str) -> None:
        self.expected.append((self.valid.pop(name), self.clock.now))


def _count(valid: _Valid, until: datetime) -> int:
    """The ticks of a schedule while it had these times, by the calendar as it is now."""
    definition = valid.definition
    if not definition.enabled or definition.cron is None:
        return 0
    timing = Timing.parse(definition.cron, definition.timezone, definition.calendar)
    return sum(1 for _ in takewhile(lambda tick: tick.moment <= until, timing.after(valid.since)))


@contextmanager
def _killing(own: Connection, statements: int) -> Iterator[None]:
    """Cut the connection that executes the statement of that number, but the simulation's own."""
    execute: Callable[..., Any] = psycopg.Cursor.execute
    left = statements

    def execute_or_die(cursor: Any, *words: Any, **fields: Any) -> Any:
        nonlocal left
        left -= cursor.connection is not own
        if left == 0 and cursor.connection is not own:
            cursor.connection.pgconn.finish()
            raise Killed("the process was killed")
        return execute(cursor, *words, **fields)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", execute_or_die)
        yield
