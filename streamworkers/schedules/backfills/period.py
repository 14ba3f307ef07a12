"""Which ticks a period has: those of a schedule, or the closes of sessions for a job without one. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from streamworkers.errors import BadInputError
from streamworkers.schedules.timing import Tick, Timing

MOST_TICKS = 10_000
AT_CLOSE = "session_close"
_EARLIEST = date(1900, 1, 1)  # the earliest as-of
_LONGEST_WAY = timedelta(days=3)  # between a tick and its session's midnight in UTC, in any zone


@dataclass(frozen=True, slots=True)
class Period:
    """The sessions from the first day to the last, both included."""

    first: date
    last: date

    def require_sound(self, today: date) -> None:
        """Raise BadInputError for a period that is before 1900, ends before it begins, or after today."""
        if self.first < _EARLIEST:
            raise BadInputError(f"--from {self.first} is before {_EARLIEST}")
        if self.last > today:
            raise BadInputError(f"--to {self.last} is in the future: today is {today}")
        if self.last < self.first:
            raise BadInputError(f"--to {self.last} is before --from {self.first}")

    def list_ticks(self, timing: Timing, now: datetime) -> list[Tick]:
        """The ticks of these sessions up to `now`, in order. Raises BadInputError for more than `MOST_TICKS`."""
        found: list[Tick] = []
        for tick in self._iterate_ticks(timing, now):
            found.append(tick)
            if len(found) > MOST_TICKS:
                raise BadInputError(
                    f"there are more than {MOST_TICKS:,} ticks from {self.first} to {self.last}:"
                    " choose a shorter period"
                )
        return found

    def _iterate_ticks(self, timing: Timing, now: datetime) -> Iterator[Tick]:
        # Year by year: a calendar is read for some years around a moment.
        for year in range(self.first.year, self.last.year + 1):
            first, last = max(self.first, date(year, 1, 1)), min(self.last, date(year, 12, 31))
            for tick in timing.after(datetime.combine(first, time(), tzinfo=UTC) - _LONGEST_WAY):
                if tick.moment > now or tick.session > last:
                    break
                if tick.session >= first:
                    yield tick
