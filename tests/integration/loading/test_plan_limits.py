"""What the plan of a key does not include: it is waited for, left out, or ends the run, and costs one call."""

from collections import Counter
from datetime import date
from typing import Any

import pytest

from harness import run_status
from loading import NOW, THIRTY, Loader, counts, later, massive, results, stored_bars
from patience import patient
from streamworkers.admin import runs as operations
from streamworkers_fakes.massive import DEFAULT_KEY, FakeMassive, RunningFakeMassive, parse_plan

TODAY = date(2025, 11, 25)
SYMBOLS = THIRTY[:4]


def _paths(server: RunningFakeMassive) -> list[str]:
    return [call.path.partition("?")[0] for call in server.calls]


def _work(loader: Loader) -> None:
    """One round of everything that waits."""
    delayed = loader.streams.keys.delayed("load")
    entries: Any = loader.streams.client.raw.zrange(delayed, 0, -1)
    for entry in entries:
        loader.streams.client.raw.zadd(delayed, {entry: 0})
    loader.streams.queues.promote("load", 1000)
    loader.consumer.work("load")


@pytest.mark.parametrize("grouped_from", [1, 100])
def test_a_day_that_is_not_there_yet_is_waited_for_and_asked_for_once(
    grouped_from: int, monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    fake = FakeMassive(now=NOW, symbols=THIRTY, plan=parse_plan("free,calls=0"))
    with massive(monkeypatch, fake, load_grouped_from=grouped_from, load_wait_seconds=patient(3600)) as server:
        run = loader.start(*SYMBOLS, first="2025-11-24", last="2025-11-25")
        for _ in range(3):
            _work(loader)
        asked = [path for path in _paths(server) if path.endswith("stocks/2025-11-25")]
        assert len(asked) == 1  # however often its items wake up
        assert {state for state, _, _ in results(loader.connection, run).values()} == {"pending"}
        assert stored_bars(loader.connection, "day") == []
        server.set_now(later(hours=7))  # the day has ended in New York
        loader.connection.execute(
            "UPDATE load_checkpoints SET packed = convert_to(replace(convert_from(packed, 'UTF8'), '\"until\":\"2',"
            " '\"until\":\"1'), 'UTF8') WHERE key = 'note:not_yet'"
        )
        loader.consumer.work_until_empty("load")
    assert run_status(loader.connection, run) == "COMPLETED"
    assert counts(loader.connection) == {"day": dict.fromkeys(SYMBOLS, 2)}
    assert {attempt for (attempt,) in loader.connection.execute("SELECT attempt FROM run_items")} == {1}


def test_a_week_is_not_made_of_the_days_before_its_last_one(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    friday = later(days=3)
    with massive(monkeypatch, FakeMassive(now=friday, plan=parse_plan("free,calls=0"))):
        run = loader.start("IBM", timeframes=("week",), now=friday, first="2025-11-24", last="2025-11-28")
        _work(loader)
    assert results(loader.connection, run)["IBM", "week"][0] == "pending"
    assert stored_bars(loader.connection, "week") == []


def test_after_the_longest_wait_a_load_goes_on_without_the_day(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    fake = FakeMassive(now=NOW, plan=parse_plan("free,calls=0"))
    with massive(monkeypatch, fake, load_wait_seconds=0):
        run = loader.load("IBM", "MSFT", timeframes=("day", "week"), first="2025-11-17", last="2025-11-25")
    assert run_status(loader.connection, run) == "COMPLETED"
    assert counts(loader.connection) == {
        "day": dict.fromkeys(("IBM", "MSFT"), 6), "week": dict.fromkeys(("IBM", "MSFT"), 1)
    }  # fmt: skip


def test_a_symbol_that_did_not_trade_today_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW)) as server:
        server.misbehave("truncated_bars", 0.5, path="/v2/aggs/ticker/IBM")
        run = loader.load("IBM", first="2025-11-24", last="2025-11-25")
        assert [path for path in _paths(server) if "grouped" in path] != []
    assert results(loader.connection, run)["IBM", "day"][:2] == (
        "completed",
        {"bars": 1, "first": "2025-11-24", "last": "2025-11-24", "missing_bars": 1},
    )


def test_a_range_before_the_plan_begins_with_the_plan(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=later(days=1), plan=parse_plan("free,calls=0"))) as server:
        run = loader.load("IBM", "MSFT", timeframes=("day", "month"), first="2014-01-02", last="2025-11-25")
        rejected = [call for call in server.calls if call.status == 403]
    assert len(rejected) <= 6  # each of the first fetches tries what the plans have; then it is known
    found = results(loader.connection, run)
    assert run_status(loader.connection, run) == "COMPLETED"
    first = date(2023, 11, 28)  # 731 days before 2025-11-26 and one more
    for symbol in ("IBM", "MSFT"):
        _, result, _ = found[symbol, "day"]
        assert result is not None
        assert (result["first"], result["history_from"]) == ("2023-11-28", str(first))
        assert "missing_bars" not in result
        _, result, _ = found[symbol, "month"]
        assert result is not None
        assert result["first"] == "2023-12-01"  # the month that begins before the plan is left out


def test_days_survive_that_their_month_begins_before_the_plan(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=later(days=1), plan=parse_plan("free,calls=0"))):
        run = loader.load("IBM", timeframes=("day", "month"), first="2023-11-28", last="2023-12-29")
    found = results(loader.connection, run)
    assert found["IBM", "day"][:2] == ("completed", {"bars": 23, "first": "2023-11-28", "last": "2023-12-29"})
    assert [row[1] for row in stored_bars(loader.connection, "month")] == [date(2023, 12, 1)]


def test_a_range_that_ends_before_the_plan_fails(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=later(days=1), plan=parse_plan("free,calls=0"))):
        run = loader.load("IBM", first="2014-01-02", last="2014-02-03")
    state, _, error = results(loader.connection, run)["IBM", "day"]
    assert state == "failed"
    assert (error or "").startswith("TooOldError: the plan of the key does not reach so far back: ")


def test_a_bad_key_ends_the_run_with_one_call(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, massive_api_key="another-key", load_threads=1) as server:
        run = loader.start(*THIRTY, timeframes=("day", "1min"), first="2025-11-17", last="2025-11-21")
        loader.consumer.work("load", count=5)
        assert run_status(loader.connection, run) == "FAILED"
        loader.consumer.work_until_empty("load")
        assert len(server.calls) == 1
        found = results(loader.connection, run)
        assert Counter(state for state, _, _ in found.values()) == {"failed": 1, "cancelled": 59}
        assert {error for _, _, error in found.values()} == {
            "AuthError: massive rejected the key in STREAMWORKERS_MASSIVE_API_KEY: …"  # what follows a key is not shown
        }
        # With the right key all of it is loaded.
        monkeypatch.setenv("STREAMWORKERS_MASSIVE_API_KEY", DEFAULT_KEY)
        operations.retry(loader.connection, loader.streams, run.id)
        loader.consumer.work_until_empty("load")
    assert run_status(loader.connection, run) == "COMPLETED"
    assert len(counts(loader.connection)["day"]) == len(THIRTY)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"massive_api_key": ""}, "the provider massive needs a key in STREAMWORKERS_MASSIVE_API_KEY"),
        ({"massive_api_key": "a b"}, "the key in STREAMWORKERS_MASSIVE_API_KEY is empty or holds blanks"),
        ({"load_provider": "csv"}, "the provider csv needs a folder, a file or a path in STREAMWORKERS_CSV_PATH"),
        ({"load_provider": "csv", "csv_path": "/none/x"}, "STREAMWORKERS_CSV_PATH='/none/x': there is no folder /none"),
    ],
)
def test_a_setting_that_every_item_needs_ends_the_run_at_once(
    given: dict[str, Any], error: str, monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, **given):
        run = loader.start(*SYMBOLS, timeframes=("day", "week"), first="2025-11-17", last="2025-11-21")
        loader.consumer.work("load", count=1)
    assert run_status(loader.connection, run) == "FAILED"
    found = results(loader.connection, run)
    assert Counter(state for state, _, _ in found.values()) == {"failed": 1, "cancelled": 7}
    assert {(text or "")[: len(error) + 12] for _, _, text in found.values()} == {f"UsageError: {error}"}


def test_what_the_plan_does_not_include_is_not_asked_for_by_each_symbol(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    fake = FakeMassive(now=NOW, plan=parse_plan("unlimited,without=minute"))
    with massive(monkeypatch, fake, load_threads=1) as server:
        run = loader.load(*THIRTY, timeframes=("day", "1min"), first="2025-11-17", last="2025-11-21")
        assert 10 <= len([call for call in server.calls if call.status == 403]) < 20  # not 30
    found = results(loader.connection, run)
    assert {state for (_, name), (state, _, _) in found.items() if name == "1min"} == {"failed"}
    assert {state for (_, name), (state, _, _) in found.items() if name == "day"} == {"completed"}
