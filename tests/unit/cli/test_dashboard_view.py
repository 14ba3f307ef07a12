"""The screen of `status` and `top`: at 80 columns names stay whole, and a pipe gets all of it."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from streamworkers.cli import session
from streamworkers.cli.dashboard_view import EVERYTHING, Overview, ProcessRow, QueueRow, SupervisorRow, render
from streamworkers.cli.session import print_whole

_NOW = datetime(2026, 11, 27, 18, 30, tzinfo=UTC)
_ERROR = "MassiveError: " + "the provider answered with a page of HTML " * 3 + "end of the error"
_SYMBOL = "X:LONGESTSYMBOLTHATTHERECANBE.ABC"[:32]


def _overview() -> Overview:
    run = {
        "run_id": 123_456,
        "job": "a_job_with_a_name_of_some_length",
        "target": "russell3000:nasdaq100:sp500:the_end",
        "item_count": 500_000,
        "closed": 123_456,
        "failed": 12,
        "calls_left": 40_000,
        "eta": _NOW,
        "started_at": _NOW,
    }
    failure = {"run_id": 123_456, "seq": 499_999, "job": run["job"], "symbol": _SYMBOL, "error": _ERROR}
    return Overview(
        at=_NOW,
        monotonic=1.0,
        components=[],
        findings=[],
        queues=[QueueRow("a_queue_with_a_name_of_some_length", 500_000, 1000, 12, 3, 4000.0)],
        supervisors=[SupervisorRow("worker-0.pool.example.com-12345-abcdef", 8, 7, 0, ("analysis", "load", "the_end"))],
        processes=[
            ProcessRow(
                *("worker-0.pool.example.com-12345-abcdef", "supervisor", "0.2.0", _NOW - timedelta(hours=3)),
                *(1.0, False, "7 of 8 busy; analysis, load; promoter, reconciler, the_end"),
            )
        ],
        runs=[run],
        failures=[failure],
        ticks=[("nightly_analysis_of_everything", 3600.0)],
    )


def _draw(width: int, **options: Any) -> list[str]:
    screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    screen.print(render(_overview(), None, EVERYTHING, **options))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue().splitlines()


def test_at_80_columns_runs_items_and_symbols_are_whole_and_each_row_is_a_line() -> None:
    lines = _draw(80)
    assert max(map(len, lines)) <= 80
    (failure,) = [line for line in lines if line.startswith("123456:499999 ")]
    assert f" {_SYMBOL} " in failure
    assert failure.rstrip().endswith("…"), "the error is what is cut"
    (run,) = [line for line in lines if line.startswith("123456 ")]
    assert " 123,456/500,000 " in run
    assert " 40,000 " in run
    assert any(line.startswith("a_queue_with_a_name_of_some_length ") for line in lines)
    assert any(" supervisor 0.2.0 " in line for line in lines)


def test_where_nobody_sees_that_something_is_cut_nothing_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "console", Console(width=80, force_terminal=False))
    print_whole(render(_overview(), None, EVERYTHING, is_whole=True))
    text = capsys.readouterr().out
    assert "…" not in text
    for words in (
        _ERROR,
        _SYMBOL,
        "123456:499999",
        "russell3000:nasdaq100:sp500:the_end",
        "promoter, reconciler, the_end",
    ):
        assert words in text
