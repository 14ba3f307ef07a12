"""What PostgreSQL can store and Python cannot hold is read as the nearest moment that it can."""

from datetime import UTC, date, datetime

import psycopg
import pytest
from psycopg.pq import Format

from streamworkers.stored_times import EARLIEST, LATEST, make_adapters

_TYPES = psycopg.adapters.types


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("timestamptz", b"2026-01-02 03:04:05+00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("timestamptz", b"infinity", LATEST),
        ("timestamptz", b"20000-01-01 00:00:00+00", LATEST),
        ("timestamptz", b"-infinity", EARLIEST),
        ("timestamptz", b"4000-01-01 00:00:00+00 BC", EARLIEST),
        ("date", b"2026-01-02", date(2026, 1, 2)),
        ("date", b"infinity", LATEST.date()),
        ("date", b"4000-01-01 BC", EARLIEST.date()),
    ],
)
def test_a_text_is_the_moment_or_the_nearest_end(name: str, text: bytes, expected: date) -> None:
    loader = make_adapters().get_loader(_TYPES[name].oid, Format.TEXT)
    assert loader is not None
    assert loader(_TYPES[name].oid, None).load(text) == expected


@pytest.mark.parametrize(
    ("name", "size", "low", "high"), [("timestamptz", 8, EARLIEST, LATEST), ("date", 4, EARLIEST.date(), LATEST.date())]
)
def test_so_is_the_binary_form(name: str, size: int, low: date, high: date) -> None:
    kind = make_adapters().get_loader(_TYPES[name].oid, Format.BINARY)
    assert kind is not None
    loader, edge = kind(_TYPES[name].oid, None), 2 ** (8 * size - 1)
    assert [loader.load(number.to_bytes(size, "big", signed=True)) for number in (-edge, edge - 1)] == [low, high]
