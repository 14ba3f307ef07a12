"""Answers of a provider that all items of a run share, each fetched once: its splits, and the days of all symbols."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from random import Random
from time import monotonic, sleep
from typing import Any

import msgspec

from streamworkers.engine.job import Context
from streamworkers.errors import ItemError
from streamworkers.loading.checkpoints import fetch_shared
from streamworkers.loading.grouped_days import DayOfAll, pack_day, unpack_day
from streamworkers.loading.newest_day import NewestDay
from streamworkers.loading.providers.provider import (
    NotYetError,
    PlanError,
    Provider,
    RateLimitedError,
    Split,
    TooOldError,
)
from streamworkers.loading.purpose import Purpose, calling_for
from streamworkers.logger import get_logger

_NO_ANSWER = b"null"
_WAIT_SECONDS = 5.0
_PAUSE_SECONDS = 0.2
_BUSY_SECONDS = 15.0  # of an answer that takes longer, items come back one after the other within this time
log = get_logger()


class BusyError(ItemError):
    """Another worker is fetching an answer that all items of the run share; it may be there at `until` (aware)."""

    def __init__(self, detail: str, until: datetime) -> None:
        super().__init__(detail)
        self.until = until


@dataclass
class SharedAnswers:
    """The shared answers of one run; those that were fetched before `since` are fetched again."""

    context: Context[Any]
    provider: Provider
    newest: NewestDay
    since: datetime
    _random: Random = field(default_factory=Random)

    def read_splits(self, first: date, last: date) -> dict[str, list[Split]] | None:
        """Return the splits of that time by symbol, None if the provider or the key's plan has no list of them."""
        packed = self._fetch(f"splits:{first}:{last}", partial(self._fetch_splits, first, last))
        if packed == _NO_ANSWER:
            return None
        by_symbol: dict[str, list[Split]] = {}
        for split in msgspec.json.decode(packed, type=list[Split]):
            by_symbol.setdefault(split.symbol, []).append(split)
        return by_symbol

    def read_day(self, day: date) -> DayOfAll | None:
        """Return the day of all symbols, None if the provider or the key's plan has none.

        Raises WaitingError if it is not there yet.
        """
        try:
            packed = self._fetch(f"day:{day}", partial(self._fetch_day, day))
        except NotYetError as error:
            raise self.newest.note_missing(day, error) from None
        self.newest.note_there(day)
        return None if packed == _NO_ANSWER else unpack_day(packed, day)

    def _fetch_splits(self, first: date, last: date) -> bytes:
        with calling_for(Purpose.SPLITS):
            splits = self.provider.splits(first, last)
            return _NO_ANSWER if splits is None else msgspec.json.encode(list(splits))

    def _fetch_day(self, day: date) -> bytes:
        self.newest.require_due(day)
        with calling_for(Purpose.DAY_OF_ALL):
            pages = self.provider.day_of_all(day)
        return _NO_ANSWER if pages is None else pack_day(pages)

    def _fetch(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """Return a shared answer, `_NO_ANSWER` if the key's plan does not include it."""

        def fetch_if_in_plan() -> bytes:
            try:
                self._require_call()
                return fetch()
            except (PlanError, TooOldError) as error:
                log.warning("load_does_without", what=key, run=self.context.run_id, reason=str(error))
                return _NO_ANSWER
            except RateLimitedError as error:
                self.newest.notes.write_next_call(error.until)
                raise

        run_id = self.context.run_id
        packed = fetch_shared(self.context.connection, run_id, key, self.since, fetch_if_in_plan, self._wait())
        if packed is None:
            until = datetime.now(UTC) + timedelta(seconds=self._random.uniform(1, _BUSY_SECONDS))
            raise BusyError(f"{key} is being fetched", until)
        return packed

    def _require_call(self) -> None:
        """Raise RateLimitedError if another batch waits for a call already: one is enough for all."""
        notes = self.newest.notes
        notes.read()
        if notes.next_call is not None and datetime.now(UTC) < notes.next_call:
            raise RateLimitedError("the run waits for its next call", notes.next_call)

    def _wait(self) -> Iterator[None]:
        """Pause a few times while another worker fetches: most answers are there then, and no item has to come back."""
        ends = monotonic() + _WAIT_SECONDS
        while monotonic() < ends and not self.context.cancelled:
            sleep(_PAUSE_SECONDS)
            yield
