"""The state machine over arrays decides what an independent one decides, in one go and in pieces."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from alert_oracle import AlertOracle, find_leaf
from rule_strategies import SmallVocabulary, rule_documents, to_columns, value_lists
from streamworkers.alerts.alert_printer import print_alert
from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.decide_bars import AlertProgress, begin, compile_alert, decide_bars
from streamworkers.alerts.document import Alert, build_alert
from streamworkers.alerts.step import AlertLimits, AlertStatus
from streamworkers.rules.evaluate import Columns
from streamworkers.rules.problem import RuleError
from streamworkers.rules.tree import lookback

VOCABULARY = SmallVocabulary()
BARS = 16
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
WATCHED = (">", ">=", "<", "<=", "crosses_above", "crosses_below")


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """A policy of any type with any gates."""
    policy: dict[str, Any] = {
        "type": draw(st.sampled_from(["once", "simple", "edge", "hysteresis", "cooldown", "persistence", "crossing"])),
        "persistence_bars": draw(st.sampled_from([1, 1, 2, 3])),
        "release_bars": draw(st.sampled_from([1, 1, 2])),
        "cooldown": draw(st.sampled_from([0, 0, 60, 150])),
        "cooldown_bars": draw(st.sampled_from([0, 0, 2, 5])),
        "gaps": draw(st.sampled_from(["keep", "reset"])),
        "initial": draw(st.sampled_from(["fire", "fire", "wait"])),
    }
    if policy["type"] == "hysteresis":
        policy |= {"leaf": "x", "threshold": draw(st.sampled_from([0.02, 0.5, {"abs": 1}]))}
    return policy


@st.composite
def alert_documents(draw: st.DrawFn) -> dict[str, Any]:
    """A rule and a policy that fit together."""
    rule, policy = draw(rule_documents()), draw(policies())
    if policy["type"] == "hysteresis":
        leaf = find_leaf(rule, lambda each: each["operator"] in WATCHED)
        assume(leaf is not None)
        leaf["id"] = "x"
    return {"rule": rule, "rearm": policy}


def _build(document: dict[str, Any]) -> Alert:
    try:
        return build_alert(document, VOCABULARY)
    except RuleError:
        assume(False)
        raise


def _closes(gaps: list[int]) -> list[datetime]:
    return [BEGIN + timedelta(seconds=60 * sum(gaps[: place + 1])) for place in range(len(gaps))]


@settings(max_examples=200)
@given(alert_documents())
def test_an_alert_prints_to_a_text_that_gives_the_same_alert(document: Any) -> None:
    policy = {
        name: value for name, value in document["rearm"].items() if name not in ("gaps", "initial", "release_bars")
    }
    alert = _build({"rule": document["rule"], "rearm": policy, "ticker": "A", "timeframe": "1h"})
    assert parse_alert_text(print_alert(alert), VOCABULARY) == alert


gaps = st.lists(st.sampled_from([1, 1, 1, 5]), min_size=BARS, max_size=BARS)
flags = st.lists(st.sampled_from([False, False, False, True]), min_size=BARS, max_size=BARS)


@settings(max_examples=400)
@given(alert_documents(), value_lists(BARS), gaps, flags, st.sampled_from([None, 1, 2]), st.sampled_from([None, 9]))
def test_the_firings_are_those_of_the_oracle(
    document: Any, values: Any, gaps: list[int], muted: list[bool], most: int | None, expires: int | None
) -> None:
    alert = _build(document)
    closes = _closes(gaps)
    limits = AlertLimits(None if expires is None else closes[expires], most)
    compiled = compile_alert(alert.rule, alert.rearm, limits)
    _, steps = decide_bars(compiled, begin(compiled), to_columns(values), closes, muted)
    seconds = [int((close - BEGIN).total_seconds()) for close in closes]
    oracle = AlertOracle(document["rule"], document["rearm"], most, None if expires is None else seconds[expires])
    expected = [oracle.bar(values, bar, seconds[bar], muted[bar]) for bar in range(BARS)]
    assert [each.fired for each in steps] == expected
    assert [each.suppressed for each in steps] == [fired and mute for fired, mute in zip(expected, muted, strict=True)]


@settings(max_examples=200)
@given(alert_documents(), value_lists(BARS), gaps, st.sets(st.integers(1, BARS - 1)))
def test_deciding_in_pieces_is_deciding_at_once(document: Any, values: Any, gaps: list[int], cuts: set[int]) -> None:
    alert = _build(document)
    compiled, closes, columns = compile_alert(alert.rule, alert.rearm), _closes(gaps), to_columns(values)
    whole, expected = decide_bars(compiled, begin(compiled), columns, closes)
    progress, steps = begin(compiled), []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), BARS], strict=True):
        history = max(0, start - lookback(alert.rule))
        part = Columns(end - history, {field: column[history:end] for field, column in columns.fields.items()})
        progress, piece = decide_bars(compiled, progress, part, closes[start:end])
        steps += piece
    assert (progress, steps) == (whole, expected)


@settings(max_examples=100)
@given(alert_documents(), value_lists(BARS), gaps)
def test_what_has_been_decided_is_kept_in_a_state_that_says_what_it_is(
    document: Any, values: Any, gaps: list[int]
) -> None:
    alert = _build(document)
    compiled = compile_alert(alert.rule, alert.rearm, AlertLimits(max_fires=2))
    progress, steps = decide_bars(compiled, begin(compiled), to_columns(values), _closes(gaps))
    assert isinstance(progress, AlertProgress)
    for each in steps:
        state = each.state
        assert (state.status is AlertStatus.PENDING) == (
            state.streak > 0
            and alert.rearm.persistence_bars > 1
            and state.status is not AlertStatus.FIRED
            and state.status is not AlertStatus.DONE
        )
        assert state.fire_count <= 2
        assert not (each.fired and state.status in (AlertStatus.ARMED, AlertStatus.PENDING))
    assert sum(each.fired for each in steps) == progress.state.fire_count
