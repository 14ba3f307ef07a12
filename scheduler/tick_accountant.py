"""Accounts for the ticks of the last day, and stores for the metric how many are missing, extra or doubled."""

from datetime import timedelta

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.errors import UsageError
from streamworkers.logger import get_logger
from streamworkers.schedules import store
from streamworkers.schedules.account import TickPeriod
from streamworkers.schedules.tick_accounts import account_for, find_recent, set_unaccounted

log = get_logger()
_DAY = timedelta(days=1)
_MOST_TICKS = 5000  # of a schedule; one that ticks each second is accounted for over the last hours


class TickAccountant:
    """A background service of schedulers: each schedule is looked at every ten minutes."""

    name = "tick-account"
    scope = "all"
    interval_seconds = 600.0

    def __init__(self, pool: "ConnectionPool[Connection]") -> None:
        self._pool = pool

    def run_once(self) -> float | None:
        """Account for all schedules that there are; what one of them cannot be accounted for stops no other."""
        with self._pool.connection() as connection:
            until = store.database_clock(connection)
            for schedule in store.list_schedules(connection):
                since = max(until - _DAY, find_recent(connection, schedule.id, _MOST_TICKS) or until - _DAY)
                try:
                    found = account_for(connection, TickPeriod(since, until), schedule.name)
                except UsageError:  # it was renamed or removed meanwhile
                    continue
                count = sum(each.account.unaccounted for each in found)
                if set_unaccounted(connection, schedule.id, count):
                    log.warning("ticks_unaccounted", schedule=schedule.name, ticks=count, since=since.isoformat())
        return None
