"""Documents and texts of alerts: every form gives the same alert, and every error names its place."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from streamworkers.alerts.alert_printer import print_alert
from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.document import Alert, AlertTarget, alert_to_json, alert_warnings, parse_alert
from streamworkers.alerts.rearm import Margin
from streamworkers.alerts.versions import ALERT_SCHEMA, is_flat, upgrade_document
from streamworkers.rules.json_input import read_json
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.rules.problem import RuleError
from streamworkers.rules.schema import load_schema
from streamworkers.rules.text import parse_rule_text
from streamworkers.rules.tree import leaves

MARKET = MarketVocabulary()
ABOVE = {"indicator": "price", "operator": ">", "value": 150}
CROSS = {"id": "x", "indicator": "price", "operator": "crosses_above", "value": {"indicator": "sma"}}
WHOLE = {
    "schema_version": 1,
    "name": "aapl-overbought",
    "ticker": "AAPL",
    "timeframe": "1h",
    "rule": {"operator": "and", "conditions": [ABOVE, CROSS, {"pattern": "CDLENGULFING", "direction": "bullish"}]},
    "rearm": {
        "type": "hysteresis",
        "threshold": 0.02,
        "cooldown": 300,
        "persistence_bars": 1,
        "release_bars": 1,
        "leaf": "x",
    },
    "evaluate": {"on": "bar_close", "session": "regular", "max_age_seconds": 900, "catch_up": "latest"},
    "no_data": "keep",
    "on_error": "keep",
    "on_correction": "record",
    "on_split": "adjust",
    "expires_at": "2027-01-01T00:00:00Z",
    "max_fires": None,
    "notify": {
        "channels": ["telegram", "email"],
        "message_template": "Alert triggered for {ticker}",
        "priority": "normal",
        "group": "watchlist",
    },
}


def test_the_schemas_are_schemas() -> None:
    for name in ("alert-v1.json", "alert-flat.json"):
        Draft202012Validator.check_schema(load_schema("streamworkers.alerts", name))
    assert ALERT_SCHEMA == ("streamworkers.alerts", "alert-v1.json")


def test_a_whole_document_is_read_and_printed_in_its_canonical_form() -> None:
    alert = parse_alert(WHOLE, MARKET)
    assert (alert.name, alert.target, alert.timeframe) == ("aapl-overbought", AlertTarget(("AAPL",)), "hour")
    assert alert.limits.expires_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert (alert.rearm.type, alert.rearm.margin, alert.rearm.cooldown_seconds) == ("hysteresis", Margin(0.02), 300)
    assert alert.rearm.leaf in list(leaves(alert.rule))
    assert alert.notify.channels == ("telegram", "email")
    canonical = alert_to_json(alert)
    assert list(canonical) == [
        "schema_version", "name", "ticker", "timeframe", "rule", "rearm", "evaluate", "expires_at", "notify",
    ]  # fmt: skip
    assert parse_alert(json.loads(json.dumps(canonical)), MARKET) == alert
    assert alert_to_json(parse_alert(canonical, MARKET)) == canonical


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ticker": "BRK.B", "max_fires": 3, "on_correction": "notify", "evaluate": {"catch_up": "all"}},
        {"tickers": ["A", "B", "A"], "timeframe": "1mo", "notify": {"on_release": True, "priority": "urgent"}},
        {"universe": "sp500:nasdaq100", "timeframe": "1min", "expires_at": "2027-01-01T09:30:00-05:00"},
        {"rearm": {"type": "once"}},
        {"rearm": {"type": "hysteresis", "threshold": {"abs": 1.5}}},
        {"rearm": {"type": "cooldown", "cooldown_bars": 5, "gaps": "reset"}},
        {"rearm": {"type": "persistence", "persistence_bars": 3, "release_bars": 2, "initial": "wait"}},
        {"rearm": {"type": "crossing", "cooldown": 0.5}, "rule": CROSS},
    ],
)
def test_the_canonical_form_gives_the_same_alert(changes: dict[str, Any]) -> None:
    alert = parse_alert({"rule": ABOVE} | changes, MARKET)
    canonical = alert_to_json(alert)
    assert parse_alert(canonical, MARKET) == alert
    assert canonical["schema_version"] == 1
    assert ("rearm" in changes) <= (canonical["rearm"]["type"] == changes.get("rearm", {}).get("type"))


@pytest.mark.parametrize(
    ("flat", "text"),
    [
        ({"condition": "price_above", "threshold": 150}, "price > 150"),
        ({"condition": "price_below", "threshold": 150}, "price < 150"),
        ({"condition": "volume_spike"}, "relative_volume(20) > 2"),
        ({"condition": "volume_spike", "threshold": 3}, "relative_volume(20) > 3"),
        ({"condition": "rsi_oversold"}, "rsi(14) < 30"),
        ({"condition": "rsi_oversold", "threshold": 25}, "rsi(14) < 25"),
    ],
)
def test_the_flat_form_of_the_replaced_system_is_normalised(flat: dict[str, Any], text: str) -> None:
    document = {"symbol": "AAPL", "notification_channels": ["email"], **flat}
    alert = parse_alert(document, MARKET)
    assert alert.rule == parse_rule_text(text, MARKET)
    canonical = alert_to_json(alert)
    assert (canonical["ticker"], canonical["notify"]) == ("AAPL", {"channels": ["email"]})
    assert is_flat(document)
    assert not is_flat(canonical)


def test_older_versions_are_upgraded_step_by_step() -> None:
    upgrades = {
        1: lambda document: {**document, "two": True},
        2: lambda document: {**document, "three": document["two"]},
    }
    found = upgrade_document({"schema_version": 1, "rule": ABOVE}, upgrades, current=3)
    assert found == {"schema_version": 3, "rule": ABOVE, "two": True, "three": True}
    assert upgrade_document({"rule": ABOVE}, upgrades, current=3) == found
    with pytest.raises(RuleError, match=r"\$.schema_version: 4 is not 1 to 3, which this release reads"):
        upgrade_document({"schema_version": 4}, upgrades, current=3)


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("1min", "1min"), ("minute", "1min"), ("1h", "hour"), ("hourly", "hour"), ("1d", "day"), ("Daily", "day"),
        ("1w", "week"), ("week", "week"), ("1mo", "month"), ("month", "month"),
    ],
)  # fmt: skip
def test_timeframes_have_the_spellings_of_both_systems(spelled: str, name: str) -> None:
    assert parse_alert({"rule": ABOVE, "timeframe": spelled}, MARKET).timeframe == name


def test_a_date_without_a_time_ends_with_that_day_on_the_exchange() -> None:
    alert = parse_alert({"rule": ABOVE, "expires_at": "2027-07-01"}, MARKET)
    assert alert.limits.expires_at == datetime(2027, 7, 2, 3, 59, 59, tzinfo=UTC)


TYPES = "once, simple, edge, hysteresis, cooldown, persistence, crossing"
ERRORS: list[tuple[Any, str]] = [
    ({}, "$: lacks 'rule'"),
    ([], "$: [] is not an object"),
    (None, "$: None is not an object"),
    ({"rule": ABOVE, "schema_version": 2}, "$.schema_version: 2 is not 1, which this release reads"),
    ({"rule": ABOVE, "schema_version": "1"}, "$.schema_version: '1' is not 1, which this release reads"),
    ({"rule": ABOVE, "schema_version": True}, "$.schema_version: True is not 1, which this release reads"),
    ({"rule": ABOVE, "tickr": "A"}, "$.tickr: no member has this name here; did you mean 'ticker'?"),
    ({"rule": ABOVE, "ticker": "A", "universe": "x"}, "$.universe: an alert has one of ticker, tickers, universe"),
    ({"rule": ABOVE, "ticker": "A B"}, "$.ticker: the symbol 'A B' is not letters, digits and"),
    ({"rule": ABOVE, "ticker": ""}, "$.ticker: the symbol is empty"),
    ({"rule": ABOVE, "tickers": []}, "$.tickers: has 0 values, fewer than 1"),
    ({"rule": ABOVE, "tickers": ["A", 5]}, "$.tickers[1]: 5 is not text"),
    ({"rule": ABOVE, "timeframe": "1m"}, "$.timeframe: timeframe '1m' is not one of 1min, hour, day, week, month"),
    ({"rule": ABOVE, "timeframe": "2h"}, "$.timeframe: timeframe '2h' is not one of 1min, hour, day, week, month"),
    ({"rule": "price > 3"}, "$.rule: 'price > 3' is not an object"),
    ({"rule": {"operator": "and", "conditions": [ABOVE | {"value": "x"}]}}, "$.rule.conditions[0].value: 'x' is not"),
    ({"rule": ABOVE | {"indicator": "rsx"}}, "$.rule.indicator: no field is named 'rsx'; did you mean 'rsi'?"),
    ({"rule": ABOVE, "expires_at": "tomorrow"}, "$.expires_at: 'tomorrow' is not a date YYYY-MM-DD or a time in ISO"),
    ({"rule": ABOVE, "expires_at": "2027-13-01"}, "$.expires_at: '2027-13-01' is not a date YYYY-MM-DD"),
    ({"rule": ABOVE, "expires_at": "2027-01-01T00:00"}, "$.expires_at: '2027-01-01T00:00' has no time zone; write"),
    ({"rule": ABOVE, "expires_at": "0001-01-01T00:00+14:00"}, "$.expires_at: '0001-01-01T00:00+14:00' is not a date"),
    ({"rule": ABOVE, "ticker": "AAPL\n"}, "$.ticker: the symbol 'AAPL\\n' is not letters, digits and"),
    ({"rule": ABOVE, "expires_at": "0001-01-01T00:00Z"}, "$.expires_at: '0001-01-01T00:00Z' is not in the years 1970"),
    (
        {"rule": ABOVE, "expires_at": "9999-12-31T00:00Z"},
        "$.expires_at: '9999-12-31T00:00Z' is not in the years 1970 to",
    ),
    ({"rule": ABOVE, "expires_at": 5}, "$.expires_at: 5 is not text or null"),
    ({"rule": ABOVE, "max_fires": 0}, "$.max_fires: 0 is less than 1"),
    ({"rule": ABOVE, "max_fires": 1.5}, "$.max_fires: 1.5 is not a whole number or null"),
    ({"rule": ABOVE, "no_data": "ok"}, "$.no_data: 'ok' is not 'keep', the only value so far"),
    ({"rule": ABOVE, "on_split": "keep"}, "$.on_split: 'keep' is not 'adjust', the only value so far"),
    ({"rule": ABOVE, "on_correction": "deny"}, "$.on_correction: 'deny' is not one of record, notify"),
    ({"rule": ABOVE, "evaluate": {"on": "high"}}, "$.evaluate.on: 'high' is not 'bar_close', the only value so far"),
    ({"rule": ABOVE, "evaluate": {"max_age_seconds": 0}}, "$.evaluate.max_age_seconds: 0 is not more than 0"),
    (
        {"rule": ABOVE, "notify": {"priority": "hihg"}},
        "$.notify.priority: 'hihg' is not one of low, normal, high, urgent",
    ),
    ({"rule": ABOVE, "notify": {"on_release": 1}}, "$.notify.on_release: 1 is not true or false"),
    ({"rule": ABOVE, "rearm": "once"}, "$.rearm: 'once' is not an object"),
    (
        {"rule": ABOVE, "rearm": {"type": "hysterisis"}},
        f"$.rearm.type: 'hysterisis' is not one of {TYPES}; did you mean",
    ),
    ({"rule": ABOVE, "rearm": {"type": "hysteresis"}}, "$.rearm: lacks 'threshold', which type hysteresis needs"),
    ({"rule": ABOVE, "rearm": {"type": "hysteresis", "threshold": 1}}, "$.rearm.threshold: 1 is not less than 1"),
    ({"rule": ABOVE, "rearm": {"type": "hysteresis", "threshold": 0}}, "$.rearm.threshold: 0 is not more than 0"),
    (
        {"rule": ABOVE, "rearm": {"type": "hysteresis", "threshold": {"abs": 0}}},
        "$.rearm.threshold.abs: 0 is not more than 0",
    ),
    (
        {"rule": ABOVE, "rearm": {"type": "hysteresis", "threshold": {"atr": 2}}},
        "$.rearm.threshold: lacks 'abs'",
    ),
    ({"rule": ABOVE, "rearm": {"threshold": 0.1}}, "$.rearm.threshold: belongs to type hysteresis, not to edge"),
    ({"rule": ABOVE, "rearm": {"leaf": "x"}}, "$.rearm.leaf: belongs to type hysteresis, not to edge"),
    (
        {"rule": {"operator": "or", "conditions": [ABOVE, CROSS]}, "rearm": {"type": "hysteresis", "threshold": 0.1}},
        "$.rearm.leaf: is missing; 2 conditions could be meant, so name one by its id",
    ),
    (
        {"rule": {"pattern": "CDLDOJI"}, "rearm": {"type": "hysteresis", "threshold": 0.1}},
        "$.rearm.leaf: is missing; 0 conditions could be meant, so name one by its id",
    ),
    (
        {"rule": ABOVE, "rearm": {"type": "hysteresis", "threshold": 0.1, "leaf": "y"}},
        "$.rearm.leaf: 'y' is the id of no condition of the rule",
    ),
    (
        {
            "rule": {"operator": "not", "conditions": [CROSS]},
            "rearm": {"type": "hysteresis", "threshold": 0.1, "leaf": "x"},
        },
        "$.rearm.leaf: 'x' is under a 'not'",
    ),
    (
        {
            "rule": ABOVE | {"id": "x", "operator": "moves_up"},
            "rearm": {"type": "hysteresis", "threshold": 0.1, "leaf": "x"},
        },
        "$.rearm.leaf: 'x' has none of the operators >, >=, <, <=, crosses_above, crosses_below",
    ),
    ({"rule": ABOVE, "rearm": {"type": "crossing"}}, "$.rearm.type: 'crossing', but the rule has 0 crossings, not one"),
    (
        {"rule": {"operator": "or", "conditions": [CROSS, CROSS | {"id": "y"}]}, "rearm": {"type": "crossing"}},
        "$.rearm.type: 'crossing', but the rule has 2 crossings, not one",
    ),
    (
        {"rule": ABOVE, "rearm": {"type": "cooldown"}},
        "$.rearm.cooldown: is missing; type cooldown needs it, or cooldown_",
    ),
    ({"rule": ABOVE, "rearm": {"cooldown": -1}}, "$.rearm.cooldown: -1 is less than 0"),
    (
        {"rule": ABOVE, "rearm": {"type": "persistence"}},
        "$.rearm.persistence_bars: 1, but type persistence needs 2 or more",
    ),
    ({"rule": ABOVE, "rearm": {"persistence_bars": 0}}, "$.rearm.persistence_bars: 0 is less than 1"),
    (
        {"rule": CROSS | {"operator": "crosses"}, "rearm": {"persistence_bars": 2}},
        "$.rearm.persistence_bars: 2, but 'crosses' has no side to stay on: use crosses_above or crosses_below",
    ),
    *[
        (
            {"rule": ABOVE, "rearm": {"type": kind, "release_bars": 2, "cooldown": 60}},
            f"$.rearm.release_bars: 2, but no condition releases type {kind}",
        )
        for kind in ("once", "simple", "cooldown")
    ],
    ({"condition": "price_above", "threshold": 1}, "$: lacks 'symbol'"),
    ({"condition": "price_above", "symbol": "A"}, "$: lacks 'threshold', which price_above needs"),
    ({"condition": "price_over", "symbol": "A"}, "$.condition: 'price_over' is not one of price_above, price_below"),
    ({"condition": "price_above", "symbol": "A", "threshold": "5"}, "$.threshold: '5' is not a number"),
    ({"condition": "price_above", "symbol": "A", "treshold": 5}, "$.treshold: no member has this name here; did you"),
    ({"rule": ABOVE, "name": "x" * 101}, "$.name: has 101 characters, more than 100"),
    ({"rule": ABOVE, "name": "a\x00"}, "$.name: 'a\\x00' holds a character that cannot be stored"),
]


@pytest.mark.parametrize(("document", "message"), ERRORS, ids=[message[:60] for _, message in ERRORS])
def test_an_error_of_a_document_names_path_value_and_rule(document: Any, message: str) -> None:
    with pytest.raises(RuleError) as raised:
        parse_alert(document, MARKET)
    assert str(raised.value)[: len(message)] == message


def test_every_value_of_a_document_is_checked() -> None:
    """Each member, whatever its level, is replaced by an object that nothing takes, and the error is there."""
    strange: dict[str, object] = {"strange": {"strange": [object]}}
    for name in WHOLE:
        with pytest.raises(RuleError) as raised:
            parse_alert(WHOLE | {name: strange}, MARKET)
        assert str(raised.value).startswith((f"$.{name}", "$.rearm" if name == "rule" else "$"))
    for name in ("rearm", "evaluate", "notify"):
        inside: Any = WHOLE[name]
        for member in inside:
            with pytest.raises(RuleError) as raised:
                parse_alert(WHOLE | {name: {**inside, member: strange}}, MARKET)
            assert str(raised.value).startswith(f"$.{name}.{member}")


def test_a_deep_or_repeated_member_of_a_document_is_rejected() -> None:
    deep = '{"rule": ' + '{"operator": "not", "conditions": [' * 500
    with pytest.raises(RuleError, match="nested deeper than 40 levels"):
        read_json(deep)
    with pytest.raises(RuleError, match=r"\$.rearm.type: this key occurs twice"):
        parse_alert(read_json('{"rule": {}, "rearm": {"type": "once", "type": "edge"}}'), MARKET)


def test_what_may_not_be_meant_is_a_warning() -> None:
    assert alert_warnings(parse_alert_text("AAPL > 150 1h cooldown 5m", MARKET)) == [
        "$.rearm.cooldown: 300 seconds are shorter than a bar of hour, so it has no effect"
    ]
    assert alert_warnings(parse_alert_text("AAPL > 150 1min cooldown 5m", MARKET)) == []
    assert alert_warnings(parse_alert_text("ln > 5", MARKET)) == [
        "$.rule: a field is measured neither in prices nor in volumes, so the rule cannot be adjusted after a split"
    ]


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("AAPL > 150", {"ticker": "AAPL", "rule": "price > 150"}),
        ("AAPL>150", {"ticker": "AAPL", "rule": "price > 150"}),
        ("AAPL crosses above 150", {"ticker": "AAPL", "rule": "price crosses_above 150"}),
        ("AAPL between 1 and 2", {"ticker": "AAPL", "rule": "price between 1 and 2"}),
        ("AAPL price > 150", {"ticker": "AAPL", "rule": "price > 150"}),
        ("BRK.B rsi(14) < 30", {"ticker": "BRK.B", "rule": "rsi(14) < 30"}),
        ('"brk.b" > 3', {"ticker": "brk.b", "rule": "price > 3"}),
        ("RSI > 20", {"ticker": "RSI", "rule": "price > 20"}),
        ("RSI() > 20", {"rule": "rsi(14) > 20"}),
        ("RSI rsi > 20", {"ticker": "RSI", "rule": "rsi(14) > 20"}),
        ("LOW low < 3", {"ticker": "LOW", "rule": "low < 3"}),
        ("NOT rsi(14) > 20", {"rule": "not rsi(14) > 20"}),
        ("AAPL not rsi(14) > 20", {"ticker": "AAPL", "rule": "not rsi(14) > 20"}),
        ("AAPL (price > 1 or low > 2) and high > 3", {"ticker": "AAPL", "rule": "(price > 1 or low > 2) and high > 3"}),
        ("AAPL > 150 1h", {"ticker": "AAPL", "rule": "price > 150", "timeframe": "hour"}),
        ("AAPL > 1 Day ONCE", {"ticker": "AAPL", "rule": "price > 1", "timeframe": "day", "rearm": {"type": "once"}}),
        ("price > 1 cooldown 5m", {"rule": "price > 1", "rearm": {"type": "cooldown", "cooldown": 300}}),
        ("price > 1 edge cooldown 2h", {"rule": "price > 1", "rearm": {"type": "edge", "cooldown": 7200}}),
        ("price > 1 hysteresis 2%", {"rule": "price > 1", "rearm": {"type": "hysteresis", "threshold": 0.02}}),
        ("price > 1 hysteresis 0.02 1d", {"rule": "price > 1", "timeframe": "day",
                                          "rearm": {"type": "hysteresis", "threshold": 0.02}}),
        ("low > 1 hysteresis abs 2", {"rule": "low > 1", "rearm": {"type": "hysteresis", "threshold": {"abs": 2}}}),
        ("low > 1 as y or low > 2 hysteresis 1% of y", {"rule": "low > 1 as y or low > 2",
                                         "rearm": {"type": "hysteresis", "threshold": 0.01, "leaf": "y"}}),
        ("low > 1 cooldown 3 bars", {"rule": "low > 1", "rearm": {"type": "cooldown", "cooldown_bars": 3}}),
        ("low > 1 cooldown 1.5s persistence 3", {"rule": "low > 1",
                                         "rearm": {"type": "cooldown", "cooldown": 1.5, "persistence_bars": 3}}),
        ("low > 1 persistence 3 cooldown 1d", {"rule": "low > 1",
                                         "rearm": {"type": "persistence", "cooldown": 86400, "persistence_bars": 3}}),
        ("low > 1 persistence 3 bars", {"rule": "low > 1", "rearm": {"type": "persistence", "persistence_bars": 3}}),
        ("price moves_up 1 in 5 bars 1h", {"rule": "price moves_up 1 in 5 bars", "timeframe": "hour"}),
        ("price > 1 until 2027-07-01", {"rule": "price > 1", "expires_at": "2027-07-02T03:59:59Z"}),
        ("price > 1 until 2027-07-01T10:00:00Z once", {"rule": "price > 1", "expires_at": "2027-07-01T10:00:00Z",
                                                       "rearm": {"type": "once"}}),
    ],
)  # fmt: skip
def test_texts_of_alerts(text: str, members: dict[str, Any]) -> None:
    expected = {"rule": parse_rule_text(members["rule"], MARKET), **members}
    alert = parse_alert_text(text, MARKET)
    assert alert.rule == parse_rule_text(members["rule"], MARKET)
    canonical = alert_to_json(alert)
    assert {name: canonical.get(name) for name in members if name != "rule"} == {
        name: value for name, value in expected.items() if name != "rule"
    }
    assert canonical.keys() - {"schema_version", "rearm"} == members.keys() - {"rearm"}
    assert parse_alert_text(print_alert(alert), MARKET) == alert


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("AAPL>150 1H", "AAPL price > 150 hour"),
        ('"brk.b" > 3 Daily ONCE', '"brk.b" price > 3 day once'),
        (
            "AAPL > 150 until 2027-01-01T00:00:00Z cooldown 300s",
            "AAPL price > 150 cooldown 5m until 2027-01-01T00:00:00Z",
        ),
        ("AAPL > 150 edge", "AAPL price > 150"),
        ("AAPL > 150 hysteresis 2% edge", None),
        ("AAPL > 150 cooldown 90s edge", "AAPL price > 150 edge cooldown 90s"),
    ],
)
def test_an_alert_prints_what_its_text_says(text: str, printed: str | None) -> None:
    if printed is None:
        with pytest.raises(RuleError, match="type is given twice"):
            parse_alert_text(text, MARKET)
    else:
        assert print_alert(parse_alert_text(text, MARKET)) == printed


def test_what_the_text_form_has_no_words_for_is_left_out() -> None:
    document = {"rule": ABOVE, "tickers": ["A", "B"], "max_fires": 3, "rearm": {"type": "edge", "release_bars": 2}}
    assert print_alert(parse_alert(document, MARKET)) == "price > 150"


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("AAPL", 5, "expected a field or number, found the end"),
        ("AAPL >", 7, "expected a field or number, found the end"),
        ("AAPL > MSFT", 8, "no field is named 'MSFT'"),
        ("AAPL rsx < 3", 6, "no field is named 'rsx'; did you mean 'rsi'?"),
        ("aapl > 3", 1, "no field is named 'aapl'"),
        (
            "AAPL > 150 2h",
            12,
            "expected 'and', 'or', a timeframe such as 1h, a policy such as once or cooldown 5m, 'until'",
        ),
        ("AAPL > 150 1h 1d", 15, "timeframe is given twice"),
        ("AAPL > 150 once edge", 17, "type is given twice"),
        ("AAPL > 150 cooldown", 20, "expected a duration such as 90s, 5m, 2h or 1d, found the end"),
        ("AAPL > 150 cooldown 5", 21, "expected a duration such as 90s, 5m, 2h or 1d, found '5'"),
        ("AAPL > 150 until tomorrow", 18, "'tomorrow' is not a date YYYY-MM-DD or a time in ISO 8601"),
        ("AAPL > 150 until", 17, "expected a date such as 2027-01-01, found the end"),
        (
            "aapl > 150",
            1,
            "no field is named 'aapl'; there are 156, from 'CMF' to 'zlema'; a ticker is written in upper",
        ),
        ("rsi > aapl", 7, "no field is named 'aapl'; there are 156, from 'CMF' to 'zlema'"),
        ("AAPL > 150 persistence 1", 12, "1, but type persistence needs 2 or more"),
        ("AAPL > 150 hysteresis 200%", 12, "2 is not less than 1"),
        ("AAPL > 150 crossing", 12, "'crossing', but the rule has 0 crossings, not one"),
        ("AAPL > 150 and", 15, "expected a field or number, found the end"),
        ("AAPL > 150 or low > 1 hysteresis 1%", 23, "is missing; 2 conditions could be meant, so name one by its id"),
        ("", 1, "the text is empty"),
    ],
)
def test_an_error_of_a_text_points_at_its_column(text: str, column: int, problem: str) -> None:
    with pytest.raises(RuleError) as raised:
        parse_alert_text(text, MARKET)
    assert (raised.value.column, raised.value.problem[: len(problem)]) == (column, problem)


def test_a_rule_alone_is_an_alert_without_anything_else() -> None:
    rule = parse_rule_text("rsi(14) < 30", MARKET)
    assert parse_alert_text("rsi(14) < 30", MARKET) == Alert(rule)
