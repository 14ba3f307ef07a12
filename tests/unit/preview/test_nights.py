"""The invented nights are the same each time, agree with themselves, and have every metric that the docs list."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from grafana.boards import all_boards
from preview.evening.api_series import api_series
from preview.evening.nights import NIGHTS
from preview.evening.plan import SYMBOLS, Night, RunPlan, plan_runs
from preview.evening.pool_series import pool_series
from preview.evening.scheduler_series import alert_series, scheduler_series
from preview.evening.series import STEP_SECONDS, Clock, Series, State, calls_of

ROOT = Path(__file__).parents[3]
BY_NAME = {night.name: night for night in NIGHTS}
_ROW = re.compile(r"^\| `(streamworkers_\w+)` \| (\w+) \|.*\| ([^|]*) \|$", re.MULTILINE)
_ALERTS = {
    rule["alert"]: rule
    for path in (ROOT / "prometheus" / "rules").glob("*.yml")
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


def _series(night: Night) -> list[Series]:
    runs, ticks = plan_runs(night)
    names = {tick.schedule for tick in ticks} or {"daily_load"}
    patterns = [] if night.is_first else [(("hammer", "bullish"), 7)]
    following = dict.fromkeys(sorted(names), night.now + timedelta(minutes=30))
    state = State(night=night, runs=runs, ticks=ticks, next_ticks=following, patterns=patterns)
    clock = Clock(night)
    makers = (pool_series, scheduler_series, api_series, alert_series)
    return [each for make in makers for each in make(state, clock)]


def _tonight(night: Night, job: str) -> RunPlan:
    return next(run for run in reversed(plan_runs(night)[0]) if run.job == job)


@pytest.mark.parametrize("night", NIGHTS, ids=lambda night: night.name)
def test_a_night_is_the_same_each_time_and_shows_nothing_of_its_future(night: Night) -> None:
    runs, ticks = plan_runs(night)
    assert plan_runs(night) == (runs, ticks)
    moments = [
        moment
        for run in runs
        for moment in (run.created, *(at for item in run.items for at in (item.started, item.finished) if at))
    ]
    assert all(moment <= night.now for moment in moments)
    assert [run.id for run in runs] == sorted({run.id for run in runs})
    for run in runs:
        is_open = any(item.finished is None for item in run.items)
        assert (run.completed is None) == is_open


def test_the_nights_are_what_their_names_say() -> None:
    patterns = _tonight(BY_NAME["evening"], "patterns")
    assert patterns.status == "RUNNING"
    assert 200 < patterns.count("completed") < len(SYMBOLS)
    assert _tonight(BY_NAME["evening"], "indicators").count("failed") == 3
    assert {run.status for run in plan_runs(BY_NAME["quiet"])[0][-40:]} == {"COMPLETED"}
    late = _tonight(BY_NAME["late"], "indicators")
    assert late.completed is not None
    assert late.completed - late.created > timedelta(minutes=30)
    assert _tonight(BY_NAME["late"], "patterns").status == "RUNNING"
    load = _tonight(BY_NAME["provider"], "load_ohlcv")
    assert (load.status, load.count("completed"), load.count("failed")) == ("RUNNING", 46, 0)
    assert plan_runs(BY_NAME["first"]) == ([], [])


def test_every_metric_that_a_board_names_has_a_series_with_the_labels_of_the_docs() -> None:
    found: dict[str, set[str]] = {}
    for each in (*_series(BY_NAME["evening"]), *_series(BY_NAME["provider"])):
        found.setdefault(each.name, set()).update(each.labels)
    rows = _ROW.findall((ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8"))
    texts = [board.text() for board in all_boards()]
    named = [row for row in rows if any(row[0] in text for text in texts)]
    assert len(named) > 40
    for name, kind, labels in named:
        written = f"{name}_bucket" if kind == "histogram" else name
        assert set(re.findall(r"`(\w+)`", labels)) <= found.get(written, set()), (
            f"the invented evening has no series {written}: add it to tests/preview/evening"
        )


def test_counters_only_rise_and_count_what_the_runs_did() -> None:
    night = BY_NAME["evening"]
    every = _series(night)
    for each in every:
        if each.name.endswith(("_total", "_bucket", "_count")):
            assert (each.values[1:] >= each.values[:-1]).all(), each
    begin = Clock(night).times[0]
    closed = sum(
        item.finished.timestamp() > begin for run in plan_runs(night)[0] for item in run.items if item.finished
    )
    assert sum(each.values[-1] for each in every if each.name == "streamworkers_items_finished_total") == closed


def test_no_two_series_have_one_name_and_the_same_labels() -> None:
    for night in NIGHTS:
        keys = [(each.name, *sorted(each.labels.items())) for each in _series(night)]
        assert len(keys) == len(set(keys))


def test_a_new_installation_has_minutes_of_series_and_others_more_than_a_day() -> None:
    assert len(Clock(BY_NAME["first"]).times) * STEP_SECONDS < 3600
    assert len(Clock(BY_NAME["evening"]).times) * STEP_SECONDS > 24 * 3600


def test_calls_hold_up_to_eight_items_of_one_run() -> None:
    calls = calls_of([_tonight(BY_NAME["quiet"], "patterns")])
    assert sum(call.items for call in calls) == len(SYMBOLS)
    assert {call.items for call in calls} <= set(range(1, 9))


@pytest.mark.parametrize("night", NIGHTS, ids=lambda night: night.name)
def test_the_alerts_of_a_night_are_those_of_the_rules(night: Night) -> None:
    for alert in night.alerts:
        assert _ALERTS[alert["alertname"]]["labels"]["severity"] == alert["severity"]
    firing = [each for each in _series(night) if each.name == "ALERTS" and each.labels["alertstate"] == "firing"]
    since = [each for each in _series(night) if each.name == "ALERTS_FOR_STATE"]
    assert [{**each.labels, "alertstate": "firing"} for each in since] == [each.labels for each in firing]
    assert all(each.values[-1] == night.now.timestamp() - 900 for each in since)


def test_boards_ask_for_no_clock_that_the_nights_cannot_stop() -> None:
    """`now()` is answered by the night; the others would be today. Recorded series are not written."""
    texts = [board.text() for board in all_boards()]
    assert not [
        found for text in texts for found in re.findall(r"(?i)current_timestamp|current_date|clock_timestamp", text)
    ]
    assert not [found for text in texts for found in re.findall(r"\w+:streamworkers_\w+", text)]
