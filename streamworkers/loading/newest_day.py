"""Waits for the newest day: some plans include a day's bars hours after its end, and say so or leave it out."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from streamworkers.errors import ItemError
from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.loading.plan import Want
from streamworkers.loading.providers.provider import NotYetError
from streamworkers.loading.run_notes import NotYet, RunNotes
from streamworkers.logger import get_logger
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES
from streamworkers.market.calendar.windows import day_of, moment_of

_LONGEST_PAUSE = timedelta(minutes=15)
_ASKS = 48  # at least so many within the longest wait
_NEW = timedelta(days=1)  # a day that ended longer ago is not waited for
log = get_logger()


class WaitingError(ItemError):
    """The newest day is not there yet; it is asked for again at `until` (aware)."""

    def __init__(self, note: NotYet) -> None:
        super().__init__(f"the bars of {note.day} are not there yet: {note.reason}")
        self.until = note.until


@dataclass
class NewestDay:
    """Whether a run has to wait for its newest day, and since when; waits for `wait_seconds` at most."""

    notes: RunNotes
    wait_seconds: float

    @property
    def horizon(self) -> datetime | None:
        """The moment up to which the provider has bars, once the run has given up waiting for more."""
        note = self.notes.not_yet
        if note is None or datetime.now(UTC) - note.since <= timedelta(seconds=self.wait_seconds):
            return None
        return datetime.combine(note.day, time(), tzinfo=EXCHANGE_ZONE)

    @property
    def waits_for(self) -> NotYet | None:
        """The note of a day that the run waits for and that is not to be asked for again now."""
        note = self.notes.not_yet
        return note if note is not None and self.horizon is None and datetime.now(UTC) < note.until else None

    def require_due(self, day: date) -> None:
        """Raise NotYetError if another batch has just asked for a day in vain."""
        self.notes.read()
        if (note := self.waits_for) is not None and note.day <= day:
            raise NotYetError(note.reason)

    def note_missing(self, day: date, error: NotYetError) -> WaitingError:
        """Note that a day is not there yet; returns the error that makes items wait for it."""
        known = self.notes.not_yet
        if known is None or known.day != day:
            log.warning("load_waits", run=self.notes.run_id, day=str(day), reason=str(error))
        now = datetime.now(UTC)
        if known is None or known.day != day or now >= known.until:
            pause = min(_LONGEST_PAUSE, timedelta(seconds=self.wait_seconds / _ASKS))
            since = known.since if known is not None and known.day == day else now
            known = NotYet(day, since, now + pause, str(error))
            self.notes.write_not_yet(known)
        return WaitingError(known)

    def note_there(self, day: date) -> None:
        """Note that a day is there that was waited for."""
        if self.notes.not_yet is not None and self.notes.not_yet.day <= day:
            self.notes.write_not_yet(None)


def find_newest_session(rules: LoadRules, last: date) -> date | None:
    """Return the newest closed session up to `last` if it ended within a day, else None."""
    frame = TIMEFRAMES["day"]
    closed = rules.expected(frame, Span(last - timedelta(days=7), last))
    if not len(closed):
        return None
    end = int(rules.windows(last, last).ends(frame, closed[-1:])[0])
    is_new = rules.now - datetime.fromtimestamp(end / 1000, UTC) <= _NEW
    return day_of(int(closed[-1])) if is_new else None


def lacks_day(fetch: Fetch, newest: int | None, day: date) -> bool:
    """True unless the newest bar of a fetch shows that a day is there; wide bars never show it."""
    frame = fetch.request.timeframe
    if newest is None or frame.name in ("week", "month"):
        return True
    moment = moment_of(frame, newest)
    return (moment.astimezone(EXCHANGE_ZONE).date() if isinstance(moment, datetime) else moment) < day


def needs_day(want: Want, day: date, rules: LoadRules) -> bool:
    """True if the newest closed bar of a want ends on a day or after it."""
    parts = rules.expected_parts(want.timeframe, want.span) if want.only is None else iter([want.only])
    newest = next((part[-1:] for part in reversed(list(parts)) if len(part)), None)
    if newest is None:
        return False
    end = int(rules.windows(want.span.first, want.span.last).ends(want.timeframe, newest)[0])
    return datetime.fromtimestamp(end / 1000, UTC).astimezone(EXCHANGE_ZONE).date() >= day
