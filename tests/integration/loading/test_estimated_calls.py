"""A load takes the calls that were announced, whatever is stored."""

import pytest

from loading import NOW, Loader, massive
from streamworkers_fakes.massive import FakeMassive

SYMBOLS = ("A", "B", "C")
ALL = ("1min", "hour", "day", "week", "month")
DAY = NOW.date().isoformat()


@pytest.mark.parametrize(
    ("before", "timeframes", "calls"),
    [
        ((), ("day",), 1),
        ((), ("day", "week", "month"), 1 + 3),
        ((), ALL, 3 + 1 + 3),
        (("A",), ("day", "month"), 1 + 2),
        (SYMBOLS, ("day", "week", "month"), 1),
    ],
)
def test_the_calls_are_those_that_were_announced(
    before: tuple[str, ...],
    timeframes: tuple[str, ...],
    calls: int,
    monkeypatch: pytest.MonkeyPatch,
    loader: Loader,
) -> None:
    fake = FakeMassive(now=NOW, symbols=SYMBOLS)
    with massive(monkeypatch, fake, load_grouped_from=2, load_confirm=False) as server:
        if before:
            loader.load(*before, first="2025-10-01", last="2025-11-24")
        done = len(server.calls)
        run = loader.load(*SYMBOLS, timeframes=timeframes, first=DAY, last=DAY)
    asked = [call for call in server.calls[done:] if "/v2/aggs/" in call.path]
    assert (run.parameters["estimated_calls"], len(asked)) == (calls, calls)
