"""Templates of messages: typed placeholders, checked when the alert is written."""

import json
import math
from datetime import UTC, datetime

import pytest

from streamworkers.alerts.document import parse_alert
from streamworkers.alerts.firing_message import preview_alert
from streamworkers.alerts.message import PLACEHOLDERS, preview_message, render_message, require_template
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.rules.problem import RuleError

PATH = ("notify", "message_template")
KNOWN = ", ".join(sorted(PLACEHOLDERS))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Alert triggered for {ticker}", "Alert triggered for AAPL"),
        ("{price} {price:.2f} {volume:,.0f} {value:.0f}", "151.25 151.25 1,200,000 151"),
        ("{bar_time} | {closed_at:date} | {closed_at:time}", "2026-01-05 09:30 EST | 2026-01-05 | 16:00"),
        ("{{{symbol}}} }}{{", "{AAPL} }{"),
        ("<b>*{name}*</b> \N{BELL} \N{HEBREW LETTER ALEF}", "<b>*my-alert*</b> \N{BELL} \N{HEBREW LETTER ALEF}"),
    ],
)
def test_a_template_is_printed_with_example_values(template: str, message: str) -> None:
    require_template(template, PATH)
    assert preview_message(template, {}) == message


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{pric}", f"no placeholder is named 'pric'; known: {KNOWN}"),
        ("{}", f"no placeholder is named ''; known: {KNOWN}"),
        ("{0}", f"no placeholder is named '0'; known: {KNOWN}"),
        ("{ticker.__class__}", f"no placeholder is named 'ticker.__class__'; known: {KNOWN}"),
        ("{ticker[0]}", f"no placeholder is named 'ticker[0]'; known: {KNOWN}"),
        ("{price!r}", "{price!r} has a conversion, which no placeholder has"),
        ("{price:{name}}", "{price:{name}} is a number: its format is like .2f or ,.0f"),
        ("{price:1000000f}", "{price:1000000f} is a number: its format is like .2f or ,.0f"),
        ("{bar_time:%H}", "{bar_time:%H} is a time: its format is date or time"),
        ("{rule:>5}", "{rule:>5} is a text, which has no format"),
        ("{price", "'{price': expected '}' before end of string; a brace that is text is written twice"),
        ("50%}", "'50%}': Single '}' encountered in format string; a brace that is text is written twice"),
    ],
)
def test_a_wrong_template_is_rejected_with_its_path(template: str, problem: str) -> None:
    document = {"rule": {"indicator": "price", "operator": ">", "value": 1}, "notify": {"message_template": template}}
    with pytest.raises(RuleError) as raised:
        parse_alert(json.loads(json.dumps(document)), MarketVocabulary())
    assert str(raised.value) == f"$.notify.message_template: {problem}"


def test_every_placeholder_has_an_example_of_its_type() -> None:
    types = {"text": str, "number": float, "time": datetime}
    assert [name for name, each in PLACEHOLDERS.items() if not isinstance(each.example, types[each.kind])] == []


def test_a_value_that_is_missing_is_unknown() -> None:
    values = {
        "price": math.nan,
        "value": math.inf,
        "level": None,
        "volume": 2.0,
        "closed_at": datetime(2026, 7, 1, tzinfo=UTC),
    }
    text = "{price:.2f} {value} {level} {high} {volume} {closed_at}"
    assert render_message(text, values) == "unknown unknown unknown unknown 2 2026-06-30 20:00 EDT"


def test_the_default_message_says_what_and_where() -> None:
    document = {"ticker": "IBM", "timeframe": "1h", "rule": {"indicator": "price", "operator": ">", "value": 150}}
    alert = parse_alert(document, MarketVocabulary())
    assert preview_alert(alert) == "IBM: price > 150 (hour), price 151.25"
