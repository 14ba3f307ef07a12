"""The account of ticks: those of a timing, compared with their rows. A pure function of both.

A tick and its row have the same moment; a row for many ticks stands for that many up to its own. A tick whose moment
has changed since it was decided, with the sessions of its calendar or with time zones, has a row of its session.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain, takewhile
from typing import Literal, NamedTuple

from streamworkers.errors import BadInputError
from streamworkers.schedules.timing import SessionMoment, Tick, Timing

MOST_TICKS = 3_000_000
MOST_DIFFERENCES = 1000

Kind = Literal["missing", "extra", "doubled"]


class TickRecord(NamedTuple):
    """A row of a timing: the decision about a tick, or about `tick_count` of them up to it."""

    moment: datetime
    session: date
    state: str
    tick_count: int


class Difference(NamedTuple):
    """A tick without a row, a row that stands for no tick, or a second row for one."""

    kind: Kind
    moment: datetime
    session: date
    state: str | None = None
    tick_count: int = 1


class TickPeriod(NamedTuple):
    """After a moment and up to another, as the ticks of a timing are."""

    since: datetime
    until: datetime

    def __contains__(self, moment: object) -> bool:
        return isinstance(moment, datetime) and self.since < moment <= self.until


@dataclass
class TickAccount:
    """What was found about the ticks of one timing or of several; the first `MOST_DIFFERENCES` are listed."""

    ticks: int = 0
    rows: int = 0
    moved: int = 0
    undecided: int = 0
    counts: dict[Kind, int] = field(default_factory=lambda: {"missing": 0, "extra": 0, "doubled": 0})
    differences: list[Difference] = field(default_factory=list)

    @property
    def unaccounted(self) -> int:
        """The number of ticks that are missing, extra or doubled."""
        return sum(self.counts.values())

    def add(self, other: "TickAccount") -> None:
        """Add what was found about another timing."""
        self.ticks, self.rows = self.ticks + other.ticks, self.rows + other.rows
        self.moved, self.undecided = self.moved + other.moved, self.undecided + other.undecided
        for kind, count in other.counts.items():
            self.counts[kind] += count
        self.differences += other.differences[: MOST_DIFFERENCES - len(self.differences)]

    def note(self, difference: Difference) -> None:
        """Count a difference, and list it if there is room."""
        self.counts[difference.kind] += difference.tick_count
        if len(self.differences) < MOST_DIFFERENCES:
            self.differences.append(difference)


class _Unmatched(NamedTuple):
    ticks: list[Tick]
    records: list[TickRecord]


def compare_ticks(
    timing: Timing,
    ticks: Iterable[Tick],
    records: Iterable[TickRecord],
    period: TickPeriod,
    is_decided: Callable[[Tick], bool],
) -> TickAccount:
    """Account for the ticks of a period. Ticks and rows are in order; those of a day around it may be among them.

    Raises BadInputError for more than `MOST_TICKS`.
    """
    account, ticking = TickAccount(), set[date]()
    unmatched = _match(_count(timing, ticks, period, account, ticking), records)
    sessions: dict[date, deque[TickRecord]] = defaultdict(deque)
    if timing.keeps_labels:
        for record in unmatched.records:
            sessions[record.session].append(record)
    moved: set[TickRecord] = set()
    for tick in unmatched.ticks:
        if sessions[tick.session]:
            moved.add(sessions[tick.session].popleft())
            account.moved += tick.moment in period
        elif tick.moment in period and is_decided(tick):
            account.note(Difference("missing", tick.moment, tick.session))
        elif tick.moment in period:
            account.undecided += 1
    for record in unmatched.records:
        if record.moment in period and record not in moved:
            _note_extra(account, timing, record, ticking)
    account.rows = account.ticks - account.undecided - account.counts["missing"]
    account.rows += account.counts["extra"] + account.counts["doubled"]
    return account


def _count(
    timing: Timing, ticks: Iterable[Tick], period: TickPeriod, account: TickAccount, ticking: set[date]
) -> Iterator[Tick]:
    """Pass ticks on; count those of the period, and note the sessions of those that follow sessions."""
    follows_sessions = isinstance(timing.rule, SessionMoment)
    for number, tick in enumerate(ticks, start=1):
        if number > MOST_TICKS:
            raise BadInputError(f"the period has more than {MOST_TICKS:,} ticks: audit a shorter one")
        account.ticks += tick.moment in period
        if follows_sessions:
            ticking.add(tick.session)
        yield tick


def _match(ticks: Iterator[Tick], records: Iterable[TickRecord]) -> _Unmatched:
    """The ticks and the rows that have no partner of the same moment."""
    waiting: list[Tick] = []
    extra: list[TickRecord] = []
    tick, is_first = next(ticks, None), True
    for record in records:
        while tick is not None and tick.moment < record.moment:
            waiting.append(tick)
            tick = next(ticks, None)
        has_tick = tick is not None and tick.moment == record.moment
        if tick is not None and has_tick and record.tick_count > 1:
            waiting.append(tick)
        if record.tick_count > 1:
            covered = min(record.tick_count, len(waiting))
            del waiting[len(waiting) - covered :]
            # The first row may also stand for ticks from before those that were given.
            if covered < record.tick_count and not is_first:
                extra.append(record._replace(tick_count=record.tick_count - covered))
        elif not has_tick:
            extra.append(record)
        tick, is_first = next(ticks, None) if has_tick else tick, False
    waiting.extend(ticks if tick is None else chain((tick,), ticks))
    return _Unmatched(waiting, extra)


def _note_extra(account: TickAccount, timing: Timing, record: TickRecord, ticking: set[date]) -> None:
    """Account for a row without a tick: of a session that ticks twice, or that ticks now outside of its timing."""
    if record.session in ticking:
        account.note(Difference("doubled", *record))
    elif _has_tick(timing, record.session):
        account.moved += 1
    else:
        account.note(Difference("extra", *record))


def _has_tick(timing: Timing, session: date) -> bool:
    """Whether a timing follows sessions, and has this one, wherever its close is now."""
    if not isinstance(timing.rule, SessionMoment):
        return False
    start = datetime.combine(session, time(), UTC) - timedelta(days=3)
    following = takewhile(lambda tick: tick.session <= session, timing.after(start))
    return any(tick.session == session for tick in following)
