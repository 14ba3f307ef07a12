"""Rules over arrays are what an independent evaluator says bar by bar, in one go and in pieces."""

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rule_oracle import Oracle
from rule_strategies import KNOWN, SmallVocabulary, rule_documents, to_columns, value_lists
from streamworkers.rules.build import build_rule
from streamworkers.rules.dimensions import PRICE
from streamworkers.rules.evaluate import Columns, compile_rule
from streamworkers.rules.sides import follow_sides
from streamworkers.rules.text import parse_rule_text
from streamworkers.rules.tree import Condition, Field, lookback
from streamworkers.rules.truth import FALSE, TRUE, UNKNOWN

VOCABULARY = SmallVocabulary()
NUMBER = {True: TRUE, False: FALSE, None: UNKNOWN}
A, B = Field("a", dimension=PRICE), Field("b", dimension=PRICE)
NAN = float("nan")
BARS = 12


def _columns(a: list[float], b: list[float] | None = None) -> Columns:
    return Columns(len(a), {A: np.array(a), B: np.array(b or a)})


def _values(text: str, a: list[float], b: list[float] | None = None, **options: Any) -> str:
    """The rule at each bar: T, F or U."""
    rule = compile_rule(parse_rule_text(text, VOCABULARY), **options)
    return "".join("FUT"[value + 1] for value in rule.evaluate(_columns(a, b)).value)


@settings(max_examples=500)
@given(rule_documents(), value_lists(BARS), st.booleans())
def test_the_arrays_say_what_the_oracle_says(document: dict[str, Any], values: Any, hold: bool) -> None:
    rule = build_rule(document, VOCABULARY)
    found = compile_rule(rule, hold).evaluate(to_columns(values)).value
    oracle = Oracle(document, hold)
    assert found.tolist() == [NUMBER[oracle.at(values, bar)] for bar in range(BARS)]


@settings(max_examples=300)
@given(rule_documents(), value_lists(BARS), st.sets(st.integers(1, BARS - 1)), st.booleans())
def test_evaluating_in_pieces_is_evaluating_at_once(
    document: dict[str, Any], values: Any, cuts: set[int], hold: bool
) -> None:
    rule = build_rule(document, VOCABULARY)
    compiled, columns = compile_rule(rule, hold), to_columns(values)
    whole = compiled.evaluate(columns)
    sides, pieces = None, []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), BARS], strict=True):
        history = max(0, start - lookback(rule))
        part = Columns(end - history, {field: column[history:end] for field, column in columns.fields.items()})
        piece = compiled.evaluate(part, sides, first=start - history)
        after_all = Columns(end, {field: column[:end] for field, column in columns.fields.items()})
        assert compiled.evaluate(after_all, sides, first=start).value.tolist() == piece.value.tolist()
        sides = piece.sides
        pieces.append(piece.value)
    assert np.concatenate(pieces).tolist() == whole.value.tolist()
    assert sides == whole.sides


def test_control_pieces_without_their_sides_differ() -> None:
    """The test above would find it if sides were forgotten between pieces."""
    rule = compile_rule(parse_rule_text("a crosses_above 5", VOCABULARY))
    assert rule.evaluate(_columns([4, 6])).value.tolist() == [FALSE, TRUE]
    first = rule.evaluate(_columns([4]))
    assert rule.evaluate(_columns([6]), first.sides).value.tolist() == [TRUE]
    assert rule.evaluate(_columns([6])).value.tolist() == [FALSE]


def _shuffle(rule: Any, chance: random.Random) -> Any:
    if "conditions" not in rule:
        return rule
    children = [_shuffle(child, chance) for child in rule["conditions"]]
    chance.shuffle(children)
    return {**rule, "conditions": children}


@settings(max_examples=1000)
@given(rule_documents(), value_lists(BARS), st.randoms(use_true_random=False))
def test_order_tautologies_and_double_negation_change_nothing(
    document: dict[str, Any], values: Any, chance: random.Random
) -> None:
    columns = to_columns(values)
    tautology = {"indicator": KNOWN, "operator": ">", "value": 0}

    def firings(variant: Any) -> list[int]:
        found: list[int] = compile_rule(build_rule(variant, VOCABULARY)).evaluate(columns).value.tolist()
        return found

    plain = firings(document)
    assert firings(_shuffle(document, chance)) == plain
    assert firings({"operator": "and", "conditions": [document, tautology]}) == plain
    assert firings({"operator": "and", "conditions": [document]}) == plain
    assert firings({"operator": "not", "conditions": [{"operator": "not", "conditions": [document]}]}) == plain
    assert firings({"operator": "or", "conditions": [document, document]}) == plain


@pytest.mark.parametrize(
    ("text", "a", "b", "values"),
    [
        ("a > 5", [4, 5, 6, NAN], None, "FFTU"),
        ("a >= 5", [4, 5, 6, float("inf")], None, "FTTU"),
        ("a == 0.3", [0.1 + 0.2, 0.3, 0.3 + 1e-6], None, "TTF"),
        ("a != 0", [0.0, -0.0, 1e-300], None, "FFT"),
        ("a == 100 tolerance 0.01", [99, 98.9, 101.01, 102], None, "TFTF"),
        ("a between 1 and 3", [0, 1, 2, 3, 4, NAN], None, "FTTTFU"),
        ("a outside 1 and 3", [0, 1, 2, 3, 4, NAN], None, "TFFFTU"),
        ("a between b and 3", [0, 4, 2], [NAN, NAN, NAN], "UFU"),
        ("a crosses_above 5", [4, 6, 7, 4, 6], None, "FTFFT"),
        ("a crosses_above 5", [6, 7, 4, 6], None, "FFFT"),
        ("a crosses_above 5", [4, 5, 6, 5, 6, 5, 4, 5, 6], None, "FFTFFFFFT"),
        ("a crosses_above 5", [4, NAN, 6, NAN, 4, 6], None, "FUTUFT"),
        ("a crosses_above 5", [5, 5, 6, 4, 6], None, "FFFFT"),
        ("a crosses_below 5", [6, 1, 6, 5, 4], None, "FTFFT"),
        ("a crosses 5", [6, 1, 6, 5, 4], None, "FTTFT"),
        ("a crosses_above 0", [-1, 0, 1, 0, -1, 0, 1], None, "FFTFFFT"),
        ("a crosses_above b", [1, 3, 3, 3], [2, 2, 4, NAN], "FTFU"),
        ("a enters_channel 1 and 3", [0, 2, 3, 4, 2, 1, 2], None, "FTFFTFF"),
        ("a exits_channel 1 and 3", [2, 0, 2, 4, 5, NAN, 2], None, "FTFTFUF"),
        ("a enters_channel 1 and 3", [0, 4, 0, 4], None, "FFFF"),
        ("a moves_up 1 in 2 bars", [1, 1, 2, 1, 3], None, "UUTFT"),
        ("a moves_down 1", [3, 2, 2, NAN, 1, 0], None, "UTFUUT"),
        ("a moves_up_pct 3", [100, 103, 106, -2, -1], None, "UTFFT"),
        ("a moves_up_pct 3", [0, 1, NAN, 5], None, "UUUU"),
        ("a moves_down_pct 50 in 3 bars", [4, 1], None, "UU"),
        ("a / b > 1", [1, 2, 3], [0, 1, 3], "UTF"),
        ("a > 1 or b > 1", [2, NAN, 0], [NAN, NAN, NAN], "TUU"),
        ("a > 1 and b > 1", [2, NAN, 0], [NAN, NAN, NAN], "UUF"),
        ("not a > 1", [2, NAN, 0], None, "FUT"),
        ("at_least 2 of (a > 1, b > 1, a > 5)", [2, 2, 0, 6], [NAN, 0, NAN, NAN], "UFFT"),
    ],
)
def test_values_by_hand(text: str, a: list[float], b: list[float] | None, values: str) -> None:
    assert _values(text, a, b) == values


@pytest.mark.parametrize(
    ("text", "a", "values"),
    [
        ("a crosses_above 5", [4, 6, 7, 5, 4, 6], "FTTTFT"),
        ("a crosses_above 5", [6, 7, 4, 6, NAN, 7], "FFFTUT"),
        ("a crosses_below 5", [6, 4, 4, 6], "FTTF"),
        ("a enters_channel 1 and 3", [0, 2, 3, 4], "FTTF"),
    ],
)
def test_a_crossing_that_is_held_stays_true_until_its_side_changes_back(text: str, a: list[float], values: str) -> None:
    assert _values(text, a, hold_crossings=True) == values


def test_the_side_of_a_leaf_moves_though_another_decides_the_rule() -> None:
    """With evaluation that stops early, the crossing would not have seen that a was below 5 at the second bar."""
    rule = compile_rule(parse_rule_text("b > 0 and a crosses_above 5", VOCABULARY))
    columns = _columns([6, 4, 6], [1, -1, 1])
    assert rule.evaluate(columns).value.tolist() == [FALSE, FALSE, TRUE]


def test_no_bars_give_no_values_and_keep_the_sides() -> None:
    rule = compile_rule(parse_rule_text("a crosses_above 5", VOCABULARY))
    sides = rule.evaluate(_columns([4, 6])).sides
    none = rule.evaluate(_columns([4, 6]), sides, first=2)
    assert (none.value.tolist(), none.sides) == ([], sides)


def test_the_sides_say_whether_a_crossing_led_to_them() -> None:
    known = np.ones(2, np.bool_)
    assert follow_sides(np.array([-1, -1], np.int8), known, 0).last == -1
    assert follow_sides(np.array([-1, 1], np.int8), known, 0).last == 2
    assert follow_sides(np.array([0, 0], np.int8), known, -2).last == -2


def test_leaves_that_differ_in_their_id_share_a_side() -> None:
    evaluation = compile_rule(parse_rule_text("a crosses 5 as x or a crosses 5 as y", VOCABULARY)).evaluate(
        _columns([4, 6])
    )
    assert (len(evaluation.leaves), evaluation.value.tolist()) == (1, [FALSE, TRUE])
    assert json.loads(json.dumps(evaluation.sides)) == evaluation.sides


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("a > 100", [101, 99], [50.5, 49.5]),
        ("a moves_up 4", [100, 105], [50, 52.5]),
        ("a - 10 > 0.5 * b", [200, 9], [100, 4.5]),
        ("100 / a < 1", [101, 99], [50.5, 49.5]),
        ("a moves_up_pct 4", [100, 105], [50, 52.5]),
        ("a * b > 10000", [100.1, 99], [50.05, 49.5]),
    ],
)
def test_a_split_scales_the_constants_by_their_dimension(text: str, before: list[float], after: list[float]) -> None:
    """After two shares for one, prices are halved, and the rule says the same of them."""
    rule: Condition = parse_rule_text(text, VOCABULARY)
    plain = compile_rule(rule).evaluate(_columns(before)).value.tolist()
    assert compile_rule(rule, split_factor=0.5).evaluate(_columns(after)).value.tolist() == plain
    assert TRUE in plain


def test_a_split_divides_volume_constants() -> None:
    rule = parse_rule_text("v > 1k", VOCABULARY)
    volume = Columns(2, {next(iter(VOCABULARY.find_field("v", None, None) for _ in "v")): np.array([1500.0, 2500.0])})
    assert compile_rule(rule, split_factor=0.5).evaluate(volume).value.tolist() == [FALSE, TRUE]
