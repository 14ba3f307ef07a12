"""Every example of the guide to rules is a rule, and does what the guide says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.document import alert_to_json, parse_alert
from streamworkers.alerts.versions import ALERT_SCHEMA
from streamworkers.market.bars.bars import Bars
from streamworkers.rules.build import parse_rule
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.rules.printer import print_rule
from streamworkers.rules.problem import RuleError
from streamworkers.rules.schema import load_schema
from streamworkers.rules.text import WORD_OPERATORS, parse_rule_text

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "rules.md").read_text(encoding="utf-8")
MARKET = MarketVocabulary()
RULES = [line for block in re.findall(r"```rule\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]
ALERTS = [line for block in re.findall(r"```alert\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("text", RULES)
def test_an_example_is_a_rule_that_prints_back(text: str) -> None:
    rule = parse_rule_text(text, MARKET)
    assert parse_rule_text(print_rule(rule), MARKET) == rule


def test_the_examples_show_every_operator() -> None:
    assert len(RULES) > 15
    shown = {word for text in RULES for word in text.split()}
    missing = [word for word in WORD_OPERATORS if word not in shown]
    assert [word for word in missing if f"`{word}`" not in GUIDE] == []


@pytest.mark.parametrize("text", ALERTS)
def test_an_example_of_an_alert_is_one(text: str) -> None:
    alert = parse_alert_text(text, MARKET)
    assert alert.target is not None
    assert parse_alert(alert_to_json(alert), MARKET) == alert


def test_the_example_of_a_document_is_canonical_but_for_defaults() -> None:
    _, text = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    document = json.loads(text)
    canonical = alert_to_json(parse_alert(document, MARKET))
    assert canonical | {"evaluate": {"catch_up": "latest"}} == document


def test_the_guide_names_every_member_of_a_policy() -> None:
    policy = load_schema(*ALERT_SCHEMA)["$defs"]["rearm"]["properties"]
    assert [name for name in policy if f"`{name}`" not in GUIDE] == []
    assert [kind for kind in policy["type"]["enum"] if f"| `{kind}`" not in GUIDE and f", `{kind}`" not in GUIDE] == []


def test_the_example_in_json_is_a_rule() -> None:
    document, _ = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    assert print_rule(parse_rule(json.loads(document), MARKET)).startswith(
        "rsi(14) < 30 and price crosses_above sma(50)"
    )


def test_the_error_in_the_guide_is_the_error() -> None:
    (shown,) = re.findall(r"```text\nError: (.*?)```", GUIDE, re.DOTALL)
    with pytest.raises(RuleError) as raised:
        parse_rule_text(shown.split("\n")[1].strip(), MARKET)
    assert f"{raised.value}\n" == shown
    with pytest.raises(RuleError) as raised:
        parse_rule(
            {"operator": "or", "conditions": [{}, {"indicator": "x", "operator": ">", "value": "seventy"}]}, MARKET
        )
    assert str(raised.value) == "$.conditions[0]: lacks 'operator'"


def test_the_example_in_python_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    close = np.concatenate([np.full(60, 100.0), [99.0, 120.0]])
    times = np.datetime64("2024-01-01", "D") + np.arange(len(close))
    names = {"bars": Bars(times, close, close, close, close, np.ones(len(close)))}
    exec(compile(code, "guide", "exec"), names)
    evaluation = names["evaluation"]
    assert evaluation.value[-2:].tolist() == [-1, 1]  # type: ignore[attr-defined]
