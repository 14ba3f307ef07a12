"""The day and the clock of New York at the starts of intraday bars, in Unix milliseconds."""

from datetime import UTC, datetime

import numpy as np

from streamworkers.market.bars.bars import Mask, Starts
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE

_MINUTE_MS, _HOUR_MS, _DAY_MS = 60_000, 3_600_000, 86_400_000
_OPENS, _CLOSES = 9 * 60 + 30, 16 * 60


def days_in_new_york(starts: Starts) -> Starts:
    """Return the number of each bar's day in New York."""
    return _local(starts) // _DAY_MS


def is_outside_session(starts: Starts) -> Mask:
    """Return a mask of the bars that start outside of 09:30 to 16:00 in New York.

    Of bars that start at full hours the one of 09:00 is inside: it holds the first trades of a session.
    """
    minutes = _local(starts) % _DAY_MS // _MINUTE_MS
    opens = _OPENS // 60 * 60 if not (starts % _HOUR_MS).any() else _OPENS
    outside: Mask = (minutes < opens) | (minutes >= _CLOSES)
    return outside


def _local(starts: Starts) -> Starts:
    # The offset changes at full hours only, so it is looked up once for each hour.
    hours, places = np.unique(starts // _HOUR_MS, return_inverse=True)
    moments = (datetime.fromtimestamp(hour * 3600, UTC).astimezone(EXCHANGE_ZONE) for hour in hours.tolist())
    offsets = np.array(
        [round(offset.total_seconds() * 1000) for each in moments if (offset := each.utcoffset())], np.int64
    )
    return starts + offsets[places]
