"""Compares the product's cron with the brute force of `cron_oracle`."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cron_oracle import DAY, FIRST, LAST, Expression, Tick, Walk, find_changes, invent
from streamworkers.errors import BadInputError
from streamworkers.schedules.cron import Cron

_NEXT_STARTS = 3


@dataclass
class Agreement:
    """What was compared in a zone, and each case in which the two did not agree."""

    zone: str
    changes: int = 0
    expressions: int = 0
    ticks: int = 0
    starts: int = 0
    differences: list[str] = field(default_factory=list)


def compare_zone(name: str, rng: random.Random, *, expressions: int, quiet_walks: int, most_changes: int) -> Agreement:
    """Compare expressions in walks around changes of a zone's clocks, and in others, from random starts."""
    zone = ZoneInfo(name)
    changes = find_changes(zone)
    agreement = Agreement(name, len(changes))
    chosen = changes if len(changes) <= most_changes else sorted(rng.sample(changes, most_changes))
    quiet = [FIRST + rng.random() * (LAST - FIRST) for _ in range(quiet_walks)]
    walks = [(Walk.around(moment, zone, days=4), moment) for moment in [*chosen, *quiet]]
    for number in range(expressions):
        walk, moment = walks[number % len(walks)]
        compare(agreement, walk, invent(rng, moment.astimezone(zone)), rng)
    return agreement


def compare(agreement: Agreement, walk: Walk, expression: Expression, rng: random.Random) -> None:
    """Compare all ticks of a walk from a random start on, and the next tick from others."""
    agreement.expressions += 1
    try:
        cron = Cron(expression.text)
    except BadInputError as error:
        if "never fires" not in str(error) or any(map(expression.is_day, _days_of_a_cycle())):
            agreement.differences.append(f"{expression.text} is rejected: {error}")
        return
    first, last = walk.inner
    expected = [tick for tick in walk.ticks(expression) if first <= tick[0] < last]
    for number in range(_NEXT_STARTS):
        start = first + timedelta(seconds=rng.randrange(int((last - first).total_seconds())))
        count = None if number == 0 else 1
        right = [tick for tick in expected if tick[0] > start][:count]
        found = _find_ticks(cron, walk, start, last, count)
        agreement.starts += 1
        agreement.ticks += len(right)
        if found != right:
            agreement.differences.append(_describe(expression, walk, start, found, right))


def _find_ticks(cron: Cron, walk: Walk, start: datetime, last: datetime, count: int | None) -> list[Tick]:
    ticks = takewhile(lambda tick: tick[0] < last, cron.after(start, walk.zone))
    try:
        return list(islice(ticks, count))
    except BadInputError as error:
        # A time that the clocks skip whenever its day comes, such as 02:00 on the last Sunday of March.
        assert "never fires in" in str(error)  # noqa: PT017
        return []


def _days_of_a_cycle() -> Iterator[date]:
    """The days of 28 years, after which weekdays and leap years repeat."""
    return (date(2001, 1, 1) + number * DAY for number in range(28 * 1461 // 4))


def _describe(
    expression: Expression,
    walk: Walk,
    start: datetime,
    found: list[Tick],
    right: list[Tick],
) -> str:
    extra, lacking = sorted(set(found) - set(right))[:3], sorted(set(right) - set(found))[:3]
    shown = [[f"{tick.astimezone(walk.zone).isoformat()} of {day}" for tick, day in part] for part in (extra, lacking)]
    place = f"{expression.text} in {walk.zone} from {start.astimezone(UTC).isoformat()}"
    return f"{place}: too many {shown[0]}, missing {shown[1]}"
