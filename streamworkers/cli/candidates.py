"""Names that a shell offers, by what they are names of: the newest runs, and of all else those with a prefix."""

from collections.abc import Iterator
from typing import NamedTuple

from streamworkers.cli.session import Session
from streamworkers.config import load_settings
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.ledger.job_types import list_known_jobs, read_job_types
from streamworkers.engine.registry import installed_jobs, list_job_names
from streamworkers.installed import entry_points
from streamworkers.loading.providers.provider import ENTRY_POINT_GROUP as PROVIDERS
from streamworkers.market.bars.symbol_prefix import list_symbols_with_prefix
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.universes.store import list_universe_names
from streamworkers.notifications.channels.registry import ENTRY_POINT_GROUP as CHANNELS
from streamworkers.schedules.store import list_schedules
from streamworkers.users import list_users_with_prefix

_MOST = 100


class Candidate(NamedTuple):
    """A name, and what some shells show beside it."""

    name: str
    about: str | None = None


def list_jobs_to_name(prefix: str) -> Iterator[Candidate]:
    """Yield the jobs that are installed here, then those that others have or that have runs."""
    del prefix
    yield from map(Candidate, list_job_names())
    with Session(load_settings()).database() as connection:
        yield from map(Candidate, sorted(list_known_jobs(connection)))


def list_queues_to_name(prefix: str) -> Iterator[Candidate]:
    """Yield the queues of the jobs that the pool has, then those of jobs that are installed here."""
    del prefix
    try:
        with Session(load_settings()).database() as connection:
            yield from (Candidate(each.queue) for each in read_job_types(connection))
    finally:
        yield from map(Candidate, installed_jobs().queues)


def list_run_ids(prefix: str) -> Iterator[Candidate]:
    """Yield the newest runs, the newest first, each with its job and state."""
    del prefix
    with Session(load_settings()).database() as connection:
        for row in ledger_reports.list_runs(connection, job=None, status=None, limit=_MOST):
            yield Candidate(str(row["run_id"]), f"{row['job']} {row['status']}")


def list_universes_to_name(prefix: str) -> Iterator[Candidate]:
    """Yield the names of all universes."""
    del prefix
    with Session(load_settings()).database() as connection:
        yield from map(Candidate, list_universe_names(connection))


def list_schedule_names(prefix: str) -> Iterator[Candidate]:
    """Yield the names of all schedules."""
    del prefix
    with Session(load_settings()).database() as connection:
        yield from (Candidate(each.name) for each in list_schedules(connection))


def list_symbols_to_name(prefix: str) -> Iterator[Candidate]:
    """Yield symbols of which bars are stored or that a universe has, with a prefix."""
    with Session(load_settings()).database() as connection:
        yield from map(Candidate, list_symbols_with_prefix(connection, prefix, _MOST))


def list_user_names(prefix: str) -> Iterator[Candidate]:
    """Yield users with a prefix."""
    with Session(load_settings()).database() as connection:
        yield from map(Candidate, list_users_with_prefix(connection, prefix, _MOST))


def list_timeframes(prefix: str) -> Iterator[Candidate]:
    """Yield the timeframes of bars."""
    del prefix
    yield from map(Candidate, TIMEFRAMES)


def list_providers(prefix: str) -> Iterator[Candidate]:
    """Yield the providers of installed packages."""
    del prefix
    yield from map(Candidate, sorted(entry_points(group=PROVIDERS).names))


def list_channel_names(prefix: str) -> Iterator[Candidate]:
    """Yield the channels of installed packages."""
    del prefix
    yield from map(Candidate, sorted(entry_points(group=CHANNELS).names))
