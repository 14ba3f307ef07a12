"""Twelve bars for each policy, with the bars at which it fires written by hand.

In a path, `-` is an unknown value. A firing is `F`, a bar without one `.`.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from rule_strategies import SmallVocabulary
from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.decide_bars import CompiledAlert, begin, compile_alert, decide_bars
from streamworkers.alerts.document import parse_alert
from streamworkers.alerts.step import AlertLimits, AlertStatus
from streamworkers.rules.canonical import rule_to_json
from streamworkers.rules.dimensions import PRICE
from streamworkers.rules.evaluate import Columns
from streamworkers.rules.text import parse_rule_text
from streamworkers.rules.tree import Field

VOCABULARY = SmallVocabulary()
FIELD = Field("a", dimension=PRICE)
BEGIN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def _alert(rule: str, rearm: dict[str, Any], limits: AlertLimits | None = None) -> CompiledAlert:
    document = {"rule": rule_to_json(parse_rule_text(rule, VOCABULARY)), "rearm": rearm}
    alert = parse_alert(document, VOCABULARY)
    return compile_alert(alert.rule, alert.rearm, limits)


def _columns(path: str) -> Columns:
    values = [np.nan if word == "-" else float(word) for word in path.split()]
    return Columns(len(values), {FIELD: np.array(values)})


def _closes(count: int, seconds: int = 60) -> list[datetime]:
    return [BEGIN + timedelta(seconds=seconds * (place + 1)) for place in range(count)]


def _fire(rule: str, rearm: dict[str, Any], path: str, limits: AlertLimits | None = None, muted: str = "") -> str:
    alert, columns = _alert(rule, rearm, limits), _columns(path)
    flags = [flag == "m" for flag in muted]
    _, steps = decide_bars(alert, begin(alert), columns, _closes(columns.bars), flags)
    return "".join("s" if each.suppressed else "F" if each.fired else "." for each in steps)


ABOVE, BELOW, CROSS = "a > 100", "a < 100", "a crosses_above 100"
RESET = {"gaps": "reset"}
SLOW = {"type": "edge", "release_bars": 2}
SIMPLE_3 = {"type": "simple", "persistence_bars": 3}
COOL_2 = {"type": "cooldown", "cooldown": 120, "persistence_bars": 2}
TWO, THREE = ({"type": "persistence", "persistence_bars": bars} for bars in (2, 3))
TWO_PERCENT = {"type": "hysteresis", "threshold": 0.02}
PATHS: list[tuple[str, dict[str, Any], str, str]] = [
    # once: the first time, and never again
    (ABOVE, {"type": "once"}, "99 101 99 101 99 101 99 101 99 101 99 101", ".F.........."),
    (ABOVE, {"type": "once"}, "100 100 - 100 101 102 - 99 101 99 101 99", "....F......."),
    (ABOVE, {"type": "once"}, "101 99 101 99 101 99 101 99 101 99 101 99", "F..........."),
    ("a > 0", {"type": "once"}, "-1 0 - 0 -1 1 0 1 0 1 0 1", ".....F......"),
    # simple: at every bar at which it is true
    (ABOVE, {"type": "simple"}, "99 101 102 100 99 250 - 101 101 99 100 101", ".FF..F.FF..F"),
    ("a > 0", {"type": "simple"}, "0 1 0 -1 1 - 1 0 0 1 1 0", ".F..F.F..FF."),
    (ABOVE, SIMPLE_3, "101 101 101 101 101 101 101 99 101 101 101 101", "..F..F....F."),
    # edge: when it becomes true, equality at the level is false, unknown keeps what is
    (ABOVE, {"type": "edge"}, "99 101 102 100 101 - 101 99 150 - 99 101", ".F..F...F..F"),
    (ABOVE, {"type": "edge"}, "99 150 - - - 150 99 - 150 100 101 102", ".F......F.F."),
    ("a >= 100", {"type": "edge"}, "99 100 101 100 99 100 - 100 99 101 99 100", ".F...F...F.F"),
    ("a > 0", {"type": "edge"}, "-1 0 1 0 1 - 1 -1 0 1 0 0", "..F.F....F.."),
    ("a == 0", {"type": "edge"}, "1 0 0 1 - 0 0 -1 0 - 1 0", ".F...F..F..F"),
    (ABOVE, {}, "101 101 99 101 101 99 - 101 99 101 101 99", "F..F...F.F.."),
    (ABOVE, SLOW, "101 99 101 99 99 101 99 - 99 101 99 101", "F....F...F.."),
    (ABOVE, SLOW | RESET, "101 99 101 99 99 101 99 - 99 101 99 99", "F....F......"),
    (ABOVE, {"type": "edge", "initial": "wait"}, "101 101 99 101 99 101 - 101 99 101 99 101", "...F.F...F.F"),
    (ABOVE, {"type": "edge", "initial": "wait"}, "99 101 99 101 - - 101 99 101 99 - 101", ".F.F....F..F"),
    (ABOVE, {"type": "edge", "initial": "wait"}, "- 101 - 101 99 - 101 101 99 101 100 101", "......F..F.F"),
    # hysteresis: released when the value is back by the threshold: 98, equality included
    (ABOVE, TWO_PERCENT, "101 99 101 98.1 101 98 101 99 - 97 - 101", "F.....F....F"),
    (ABOVE, TWO_PERCENT, "99 250 100 101 - 101 98 100 101 50 101 101", ".F......F.F."),
    (BELOW, TWO_PERCENT, "99 101 99 101.9 99 102 99 101 99 - 150 99", "F.....F....F"),
    ("a > -100", TWO_PERCENT, "-99 -101 -99 -101.9 -99 -102 -99 -103 - -99 -99 -99", "F.....F..F.."),
    ("a > 0", TWO_PERCENT, "1 -5 1 -5 1 -5 1 -5 1 -5 1 -5", "F..........."),
    ("a > 0", {"type": "hysteresis", "threshold": {"abs": 2}}, "1 -1 1 -2 1 - -3 0 1 -1.9 1 1", "F...F...F..."),
    (CROSS, TWO_PERCENT, "99 101 99 101 97 101 102 98 100 101 - 101", ".F...F...F.."),
    (ABOVE, TWO_PERCENT | {"release_bars": 2}, "101 97 101 97 - 97 101 97 97 101 101 101", "F.....F..F.."),
    # cooldown: when it is true and the time is over, whatever it was meanwhile; closes are 60 seconds apart
    (ABOVE, {"type": "cooldown", "cooldown": 180}, "101 101 101 101 99 99 101 101 101 101 - 101", "F..F..F..F.."),
    (ABOVE, {"type": "cooldown", "cooldown": 180}, "99 101 99 101 - 101 100 250 101 99 101 101", ".F...F..F..F"),
    (CROSS, {"type": "cooldown", "cooldown": 180}, "99 101 99 101 99 101 99 101 101 101 99 101", ".F...F.....F"),
    ("a > 0", {"type": "cooldown", "cooldown": 120}, "0 1 1 1 0 0 - 1 -1 1 1 1", ".F.F...F.F.F"),
    (ABOVE, {"type": "cooldown", "cooldown_bars": 3}, "101 101 101 101 - - - 101 101 101 101 99", "F..F...F..F."),
    (ABOVE, {"type": "edge", "cooldown": 240}, "101 99 101 101 101 101 99 101 99 101 101 99", "F...F....F.."),
    (ABOVE, COOL_2, "101 101 101 101 101 101 99 101 101 101 101 101", ".F.F.F..F.F."),
    # persistence: after so many true bars in a row; a flap never fires, unknown keeps the count
    (ABOVE, THREE, "101 101 99 101 101 101 101 99 101 101 101 101", ".....F....F."),
    (ABOVE, THREE, "101 - 101 - 101 99 100 101 101 250 101 101", "....F....F.."),
    (ABOVE, THREE | RESET, "101 101 - 101 101 101 99 101 - 101 101 101", ".....F.....F"),
    (CROSS, THREE, "99 101 102 103 104 99 101 99 101 100 - 101", "...F.......F"),
    (CROSS, TWO, "101 102 103 99 101 100 100 - 99 99 250 101", ".....F.....F"),
    ("a > 0", TWO, "1 0 1 1 - 1 0 1 - 1 0 1", "...F.....F.."),
    # crossing: when the side becomes the asked one, after the other was seen; equality keeps the side
    (CROSS, {"type": "crossing"}, "99 101 102 100 101 99 101 100 99 250 - 101", ".F....F..F.."),
    (CROSS, {"type": "crossing"}, "101 101 99 - 101 100 100 99 100 101 - 99", "....F....F.."),
    ("a crosses_above 0", {"type": "crossing"}, "-1 0 1 0 -1 0 1 1 0 - -1 1", "..F...F....F"),
    ("a crosses_below 100", {"type": "crossing"}, "101 99 100 99 101 99 - 100 101 100 99 99", ".F...F....F."),
    ("a crosses 100", {"type": "crossing"}, "99 101 100 99 101 - 99 99 250 100 101 99", ".F.FF.F.F..F"),
    ("a enters_channel 1 and 3", {"type": "crossing"}, "0 2 3 4 2 1 2 0 - 2 2 5", ".F..F....F.."),
    (CROSS, {"type": "crossing", "release_bars": 2}, "99 101 99 101 99 99 101 99 - 99 101 101", ".F....F...F."),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "rearm", "path", "fired"), PATHS, ids=[f"{r} {m} {p}" for r, m, p, _ in PATHS])
def test_a_path_fires_where_it_should(rule: str, rearm: dict[str, Any], path: str, fired: str) -> None:
    assert len(path.split()) == len(fired) == 12
    assert _fire(rule, rearm, path) == fired


def test_every_policy_has_paths_with_equality_a_gap_an_unknown_and_level_zero() -> None:
    for kind in ("once", "simple", "edge", "hysteresis", "cooldown", "persistence", "crossing"):
        paths = [(rule, path) for rule, rearm, path, _ in PATHS if rearm.get("type", "edge") == kind]
        assert any("-" in path.split() for _, path in paths), kind
        assert any(rule.split()[-1] == "0" for rule, _ in paths), kind
        assert any(rule.split()[-1] in path.split() for rule, path in paths), kind


def test_control_unknown_taken_as_false_releases() -> None:
    """The paths with an unknown in the middle would find it: here the value is false where it was unknown."""
    assert _fire(ABOVE, {"type": "edge"}, "99 101 - 101") == ".F.."
    assert _fire(ABOVE, {"type": "edge"}, "99 101 0 101") == ".F.F"


def test_the_most_fires_and_the_end_stop_it_and_a_raised_limit_goes_on() -> None:
    path = "101 99 101 99 101 99 101"
    assert _fire(ABOVE, {}, path, AlertLimits(max_fires=2)) == "F.F...."
    assert _fire(ABOVE, {}, path, AlertLimits(expires_at=_closes(3)[-1])) == "F.F...."
    assert _fire(ABOVE, {}, path, AlertLimits(expires_at=_closes(3)[-1] - timedelta(seconds=1))) == "F......"
    alert, columns = _alert(ABOVE, {}, AlertLimits(max_fires=1)), _columns(path)
    progress, steps = decide_bars(alert, begin(alert), _columns("101 101 99"), _closes(3))
    assert progress.state.status is AlertStatus.DONE
    raised = _alert(ABOVE, {}, AlertLimits(max_fires=2))
    progress, steps = decide_bars(raised, progress, _columns("101 99 101 99 101"), _closes(8)[3:])
    assert [each.fired for each in steps] == [False, False, True, False, False]
    assert progress.state.fire_count == 2
    assert columns.bars == 7


def test_muted_firings_are_suppressed_and_not_counted() -> None:
    path = "101 99 101 99 101 99 101"
    assert _fire(ABOVE, {}, path, AlertLimits(max_fires=1), muted="mmm....") == "s.s.F.."
    assert _fire(ABOVE, {"type": "once"}, path, muted="mmm....") == "s.s.F.."
    assert _fire(ABOVE, {"type": "once"}, "101 101 101 99 101 99 101", muted="mm.....") == "s...F.."
    assert _fire(ABOVE, {"type": "once"}, path, muted=".mm....") == "F......"


def test_release_and_firing_may_share_a_bar() -> None:
    rule = "a > 100 as x or a < 90"
    assert _fire(rule, TWO_PERCENT | {"leaf": "x"}, "101 99 89 89 101 99 101") == "F.FF..."


def test_a_crossing_at_the_first_bar_is_seen_from_the_bar_before() -> None:
    alert = _alert(CROSS, {"type": "crossing"})
    progress = begin(alert, _columns("101 99"))
    assert progress.state == begin(alert).state
    _, steps = decide_bars(alert, progress, _columns("99 101"), _closes(1))
    assert [each.fired for each in steps] == [True]
    _, unseeded = decide_bars(alert, begin(alert), _columns("99 101"), _closes(1))
    assert [each.fired for each in unseeded] == [False]


def test_cooldown_counts_from_close_to_close_whatever_lies_between() -> None:
    alert = _alert(ABOVE, {"type": "cooldown", "cooldown": 3600})
    night = [BEGIN, BEGIN + timedelta(seconds=3599), BEGIN + timedelta(hours=17), BEGIN + timedelta(hours=18)]
    _, steps = decide_bars(alert, begin(alert), _columns("101 101 101 101"), night)
    assert [each.fired for each in steps] == [True, False, True, True]


def test_a_release_is_reported_once_and_waiting_for_false_is_none() -> None:
    alert, columns = _alert(ABOVE, {}), _columns("101 99 99 101")
    _, steps = decide_bars(alert, begin(alert), columns, _closes(4))
    assert [each.released for each in steps] == [False, True, False, False]
    waiting = _alert(ABOVE, {"initial": "wait"})
    _, steps = decide_bars(waiting, begin(waiting), columns, _closes(4))
    assert [each.released for each in steps] == [False, False, False, False]


def test_the_amount_of_a_hysteresis_is_scaled_after_a_split() -> None:
    alert = parse_alert_text("a > 100", VOCABULARY)
    document = {"rule": rule_to_json(alert.rule), "rearm": {"type": "hysteresis", "threshold": {"abs": 4}}}
    found = parse_alert(document, VOCABULARY)
    halved = compile_alert(found.rule, found.rearm, split_factor=0.5)
    _, steps = decide_bars(halved, begin(halved), _columns("51 48.1 51 48 51"), _closes(5))
    assert [each.fired for each in steps] == [True, False, False, False, True]
