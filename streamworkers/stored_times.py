"""Moments of PostgreSQL that Python has no room for, such as `infinity`: read as the ends of what there is room for."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg.abc import Buffer, Loader
from psycopg.adapt import AdaptersMap
from psycopg.pq import Format

# Within Python's range in every zone, too.
EARLIEST = datetime(1, 1, 3, tzinfo=UTC)
LATEST = datetime(9999, 12, 28, tzinfo=UTC)


def make_adapters() -> AdaptersMap:
    """Return psycopg's adapters with loaders of dates and moments that never raise.

    One value that cannot be held would end the read of all rows beside it.
    """
    adapters = AdaptersMap(psycopg.adapters)
    for name, earliest, latest in (
        ("timestamptz", EARLIEST, LATEST),
        ("date", EARLIEST.date(), LATEST.date()),
    ):
        for form in (Format.TEXT, Format.BINARY):
            oid = psycopg.adapters.types[name].oid
            loader = psycopg.adapters.get_loader(oid, form)
            assert loader is not None
            adapters.register_loader(oid, _bound(loader, form, earliest, latest))
    return adapters


def _bound(usual: type[Loader], form: Format, earliest: date, latest: date) -> type[Loader]:
    class BoundedLoader(psycopg.adapt.Loader):
        """Loads as the usual loader does, and what that cannot hold as the nearest end."""

        format = form

        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._load: Callable[[Buffer], Any] = usual(oid, context).load

        def load(self, data: Buffer) -> Any:
            try:
                return self._load(data)
            except (psycopg.DataError, ValueError, OverflowError):
                return earliest if _is_early(bytes(data), form) else latest

    return BoundedLoader


def _is_early(data: bytes, form: Format) -> bool:
    if form is Format.BINARY:
        return int.from_bytes(data, "big", signed=True) < 0
    return data.startswith(b"-") or data.endswith(b"BC")
