"""A trial says of each bar what happened and why, and decides as the live evaluation does."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from rule_strategies import SmallVocabulary
from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.decide_bars import begin, compile_alert, decide_bars
from streamworkers.alerts.document import Alert
from streamworkers.alerts.trial import Trial, first_bars, try_alert
from streamworkers.rules.dimensions import PRICE
from streamworkers.rules.evaluate import Columns
from streamworkers.rules.tree import Field

FIELD = Field("a", dimension=PRICE)
BEGIN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def _alert(text: str) -> Alert:
    return parse_alert_text(text, SmallVocabulary())


def _try(text: str, path: str, skip: int = 0) -> Trial:
    alert = _alert(text)
    values = [np.nan if word == "-" else float(word) for word in path.split()]
    closes = [BEGIN + timedelta(minutes=place + 1) for place in range(len(values))]
    columns = Columns(len(values), {FIELD: np.array(values)})
    return try_alert(compile_alert(alert.rule, alert.rearm, alert.limits), columns, closes[skip:])


def _reasons(trial: Trial) -> list[str]:
    return [each.why for each in trial.decisions(every_bar=True)]


@pytest.mark.parametrize(
    ("text", "path", "reasons"),
    [
        (
            "a > 100",
            "99 101 102 - 99",
            ["false: a > 100", "fires", "true, not released yet", "unknown: a > 100", "released, false: a > 100"],
        ),
        ("a > 100 once", "101 99 101", ["fires", "done after one firing", "done after one firing"]),
        ("a > 100 persistence 3 bars", "101 101 101", ["true for 1 of 3 bars", "true for 2 of 3 bars", "fires"]),
        ("a > 100 simple", "101 101", ["fires", "fires, released at the same bar"]),
        (
            "a > 100 cooldown 3 bars",
            "101 101 101 101",
            [
                "fires",
                "released, true, cooldown for 2 more bars",
                "true, cooldown for 1 more bars",
                "fires",
            ],
        ),
        (
            "a > 100 cooldown 2m",
            "101 101 101",
            ["fires", "released, true, cooldown until 2026-01-05T14:33:00Z", "fires"],
        ),
        (
            "a > 100 until 2026-01-05T14:31:00Z",
            "99 101 101",
            ["false: a > 100", "true, expired at 2026-01-05T14:31:00Z", "true, expired at 2026-01-05T14:31:00Z"],
        ),
        ("a > 100 and not a > 105", "106", ["false"]),
        ("a > 100 or a > 200", "50 -", ["false: a > 100; a > 200", "unknown: a > 100; a > 200"]),
    ],
)
def test_every_bar_has_its_reason(text: str, path: str, reasons: list[str]) -> None:
    assert _reasons(_try(text, path)) == reasons


def test_release_bars_and_waiting_for_false_are_named() -> None:
    alert = _alert("a > 100")
    document_like = compile_alert(alert.rule, type(alert.rearm)(release_bars=2, initial="wait"))
    columns = Columns(5, {FIELD: np.array([101.0, 99, 101, 99, 99])})
    closes = [BEGIN + timedelta(minutes=place + 1) for place in range(5)]
    assert _reasons(try_alert(document_like, columns, closes)) == [
        "true, has to be false first",
        "false: a > 100",
        "fires",
        "false: a > 100, release holds for 1 of 2 bars",
        "released, false: a > 100",
    ]


def test_only_bars_at_which_something_happens_are_listed() -> None:
    trial = _try("a > 100", "98 99 101 102 103 99 98 -")
    assert [(each.place, each.why) for each in trial.decisions()] == [(2, "fires"), (5, "released, false: a > 100")]
    assert [each.values for each in trial.decisions(every_bar=True)][-1] == (None, 100.0)
    assert (trial.firings, trial.unknown, trial.first) == (1, 1, 0)


def test_bars_before_the_period_seed_the_sides_and_fire_nothing() -> None:
    path = "99 99 101 99 101"
    assert [each.place for each in _try("a crosses_above 100", path, skip=2).decisions() if each.step.fired] == [2, 4]
    assert [each.place for each in _try("a crosses_above 100", path, skip=4).decisions() if each.step.fired] == [4]


def test_a_trial_decides_as_the_live_evaluation_bar_by_bar() -> None:
    text, generator = "a crosses_above 100 or a > 104 cooldown 3m", np.random.default_rng(5)
    path = np.round(100 + np.cumsum(generator.normal(0, 2, 200)), 1)
    trial = _try(text, " ".join(map(str, path)), skip=1)
    alert = trial.alert
    progress, steps = begin(alert, first_bars(trial.columns, 1)), []
    for bar in range(2, 201):
        progress, made = decide_bars(alert, progress, first_bars(trial.columns, bar), trial.closes[bar - 2 : bar - 1])
        steps += made
    assert steps == list(trial.steps)
    assert sum(step.fired for step in steps) > 1
