"""The picture of a firing, drawn from stored bars."""

import struct
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import structlog

from streamworkers.database import Connection
from streamworkers.loading.providers.provider import BarOrigin
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.loading.store import load_unreal
from streamworkers.market.bars import export
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.notifications import drawing, pictures
from streamworkers.notifications.pictures import draw_firing, draw_picture

LAST = date(2026, 1, 5)


@pytest.fixture
def data(connection: Connection) -> dict[str, Any]:
    load = load_unreal(connection, TIMEFRAMES["day"], generate_bars(1, 100, 1, LAST), BarOrigin.INVENTED)
    (symbol,) = load.symbols
    return {"symbol": symbol, "timeframe": "day", "bar_time": datetime(2026, 1, 2, 5, tzinfo=UTC).isoformat()}


def test_a_firing_is_drawn_with_the_bars_up_to_it(connection: Connection, data: dict[str, Any]) -> None:
    bars = export.read_range(connection, [data["symbol"]], TIMEFRAMES["day"], date(2025, 1, 1), date(2026, 1, 3))
    close = float(bars[data["symbol"]].close[-1])
    picture = draw_firing(connection, data | {"level": close})
    assert picture is not None
    assert picture.data.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture.data[16:24]) == (800, 450)
    assert len(picture.data) < 200_000
    assert f"close {close:.10g}, level {close:.10g}" in picture.description
    others = [draw_firing(connection, data | more) for more in ({}, {"level": 1e9}, {"level": float("inf")})]
    assert all(other is not None and other.data != picture.data for other in others)
    assert others[0] is not None
    assert draw_firing(connection, data) == others[0]  # the same again


def test_without_a_firing_or_bars_there_is_no_picture(connection: Connection, data: dict[str, Any]) -> None:
    early = (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=1)).isoformat()
    for changes in (
        {"symbol": None},
        {"symbol": "NONE"},
        {"timeframe": "year"},
        {"timeframe": "hour"},
        {"bar_time": "soon"},
        {"bar_time": "2026-01-02"},
        {"bar_time": early},
    ):
        assert draw_firing(connection, data | changes) is None, changes


def test_without_the_extra_there_is_no_picture(
    connection: Connection, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "find_spec", lambda _: None)
    assert draw_firing(connection, data) is None


@dataclass(frozen=True)
class Sent:
    """A notification, as far as pictures know it."""

    type: str
    data: dict[str, Any]
    created_at: datetime = datetime(2026, 1, 5, tzinfo=UTC)


def test_one_firing_has_a_picture_and_nothing_else_has(connection: Connection, data: dict[str, Any]) -> None:
    fired = Sent("alert_fired", data)
    assert draw_picture(connection, [fired]) == draw_firing(connection, data)
    assert draw_picture(connection, [fired, fired]) is None
    assert draw_picture(connection, [Sent("alert_released", data)]) is None


def test_a_picture_that_cannot_be_drawn_is_logged_and_keeps_no_message_back(
    connection: Connection, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("no font")

    monkeypatch.setattr(pictures, "draw", fail)
    with structlog.testing.capture_logs() as logs:
        assert draw_picture(connection, [Sent("alert_fired", data)]) is None
    assert [(log["event"], log["error"]) for log in logs] == [("picture_not_drawn", "RuntimeError: no font")]


def test_what_words_and_sends_messages_loads_no_numpy() -> None:
    """Also not by way of a library, which the contract of imports does not see."""
    code = (
        "import sys; from streamworkers.config import Settings; import streamworkers.notifications.wording;"
        " from streamworkers.notifications.channels.registry import load_channels;"
        " assert len(load_channels(Settings())) == 5;"
        " print(sorted({'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
