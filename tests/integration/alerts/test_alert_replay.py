"""A replay finds what the live evaluation found bar by bar, through edits, mutes and pauses, and names the rest."""

from typing import Any

import pytest

from alert_stage import WORDS, AlertStage, Path, before_day, document, session_days
from consumer import Consumer
from streamworkers.actor import LOCAL
from streamworkers.alerts.document import parse_alert
from streamworkers.alerts.engine.replaying import Replay, replay_alert
from streamworkers.alerts.store.alerts import StoredAlert, read_versions
from streamworkers.alerts.store.changes import edit_alert, pause_alert, resume_alert
from streamworkers.alerts.store.mutes import mute_alert
from streamworkers.alerts.store.symbols import set_symbols
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE

PATH: Path = [99, 100, 101, 102, 99, 101, None, 101, 98, 103, 103, 97, 104, 99, 105, 106, 98, 107]
LAST = before_day(len(PATH) + 1)


@pytest.fixture
def stage(connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> AlertStage:
    return AlertStage(connection, streams, registry, consumer)


def _replay(stage: AlertStage, alert: StoredAlert, symbol: str | None = None) -> Replay:
    return replay_alert(stage.connection, alert, symbol, LAST, "XNYS")


def _found(replay: Replay) -> list[tuple[int, str, str | None]]:
    days = session_days()
    return [
        (days.index(each.bar_time.astimezone(EXCHANGE_ZONE).date()), each.found_by, each.suppressed)
        for each in replay.firings
    ]


def _changed(rule: str, **members: Any) -> Any:
    return parse_alert(document(rule, **members), WORDS)


def test_a_replay_is_the_live_evaluation_bar_by_bar(stage: AlertStage) -> None:
    """Every rearm type, and one alert that is edited, muted and paused between bars."""
    rearms: list[dict[str, Any]] = [
        {"type": "edge"},
        {"type": "simple"},
        {"type": "once"},
        {"type": "cooldown", "cooldown_bars": 4},
        {"type": "persistence", "persistence_bars": 2},
        {"type": "hysteresis", "threshold": 0.02},
    ]
    alerts = [stage.add("price > 100", rearm) for rearm in rearms]
    alerts.append(stage.add("price crosses_above sma(3)", {"type": "crossing"}, notify={"on_release": True}))
    edited = stage.add("price > 100", {"type": "edge"}, name="edited")
    for place, price in enumerate(PATH):
        if place == 4:
            mute_alert(stage.connection, LOCAL, "edited", before_day(7), at=before_day(4))
        if place == 8:
            edit_alert(stage.connection, LOCAL, "edited", _changed("price > 102"), at=before_day(8))
        if place == 11:
            pause_alert(stage.connection, LOCAL, "edited", at=before_day(11))
        if place == 14:
            resume_alert(stage.connection, LOCAL, "edited", at=before_day(14))
        if place == 16:
            renamed = _changed("price > 102", name="edited", notify={"group": "desk"})
            edit_alert(stage.connection, LOCAL, "edited", renamed, at=before_day(16))
        stage.bar_by_bar([price], place)
    for alert in [*alerts, edited]:
        replay = _replay(stage, alert)
        assert replay.bars == len(PATH)
        assert replay.differences == 0
        fires = [place for place, _, _ in _found(Replay(0, [each for each in replay.firings if each.kind == "fire"]))]
        assert fires == stage.fired(alert) != []
    assert _found(_replay(stage, edited)) == [
        (2, "both", None),
        (5, "both", "mute"),
        (9, "both", None),
        (14, "both", None),
        (17, "both", None),
    ]


def test_a_symbol_that_left_and_came_back_is_replayed_in_its_intervals(stage: AlertStage) -> None:
    alert = stage.add("price > 100", {"type": "simple"})
    for place, price in enumerate(PATH[:12]):
        if place == 3:
            set_symbols(stage.connection, alert.id, "day", [], before_day(3))
        if place == 9:
            set_symbols(stage.connection, alert.id, "day", ["AAA"], before_day(9))
        stage.bar_by_bar([price], place)
    assert _found(_replay(stage, alert)) == [(2, "both", None), (9, "both", None), (10, "both", None)]
    assert _replay(stage, alert, "BBB") == Replay(0, [])


def test_a_corrected_bar_makes_a_difference_that_is_named(stage: AlertStage) -> None:
    alert = stage.add("price > 100", {"type": "edge"})
    stage.bar_by_bar(PATH[:6])
    stage.load([99], 2)
    stage.load([105], 4)
    replay = _replay(stage, alert)
    assert _found(replay) == [(2, "live", None), (3, "replay", None), (5, "live", None)]
    assert replay.differences == 3


def test_the_versions_are_what_makes_them_equal(stage: AlertStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: with the newest version for all bars, the replay of an edited alert differs."""
    alert = stage.add("price > 100", {"type": "edge"}, name="edited")
    stage.bar_by_bar(PATH[:8])
    edit_alert(stage.connection, LOCAL, "edited", _changed("price > 102"), at=before_day(8))
    stage.bar_by_bar(PATH[8:], 8)
    assert _replay(stage, alert).differences == 0

    def only_the_newest(connection: Connection, alert_ids: list[int]) -> Any:
        found = read_versions(connection, alert_ids)
        return {
            number: [type(each)(**{**_members(each), "effective_from": each.rule_from.replace(year=2000)})]
            for number, versions in found.items()
            for each in versions[-1:]
        }

    monkeypatch.setattr("streamworkers.alerts.engine.replaying.read_versions", only_the_newest)
    assert _replay(stage, alert).differences > 0


def _members(version: Any) -> dict[str, Any]:
    return {name: getattr(version, name) for name in type(version).__dataclass_fields__}
