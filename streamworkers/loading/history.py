"""Finds the first day that the plan of a key includes: older ranges are rejected without a word where it begins."""

import threading
from datetime import date, timedelta

from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.providers.provider import Provider
from streamworkers.loading.run_notes import RunNotes
from streamworkers.logger import get_logger
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE

_YEARS_OF_PLANS = (20, 15, 10, 5, 2, 1)
_DAYS_OF_YEAR = 365.25
log = get_logger()


class PlanHistory:
    """The first day of the plan's history as far as a batch knows it. Thread-safe, except `keep`."""

    def __init__(self, provider: Provider, notes: RunNotes) -> None:
        self._provider, self._notes = provider, notes
        self._lock = threading.Lock()
        self._first: date | None = None

    def begin(self) -> None:
        """Start from what the run has noted."""
        self._first = self._notes.history_from

    def clip(self, fetch: Fetch) -> Fetch:
        """Return a fetch that begins within the history."""
        return fetch.clip(self._first) if self._first is not None else fetch

    def find_later(self, fetch: Fetch) -> Fetch | None:
        """Return a rejected fetch with the next later beginning that a plan may have, None if there is none."""
        today = self._provider.now().astimezone(EXCHANGE_ZONE).date()
        with self._lock:
            rejected = fetch.asked.first
            if self._first is None or self._first <= rejected:
                # A day later than the plan's first one: by the time of the call it may have passed.
                begins = (today - timedelta(days=round(years * _DAYS_OF_YEAR) - 1) for years in _YEARS_OF_PLANS)
                first = next((begin for begin in begins if begin > rejected), None)
                if first is None:
                    return None
                self._first = first
            return fetch.clip(self._first) if self._first <= fetch.request.last else None

    def keep(self) -> None:
        """Note for the run what was found, and say it once."""
        if self._first is not None and self._first != self._notes.history_from:
            log.warning("load_clipped", run=self._notes.run_id, history_from=str(self._first))
            self._notes.write_history(self._first)
