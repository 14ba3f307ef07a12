"""Misbehaviours: how they are written, which are rejected, and that the same calls meet the same ones."""

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers_fakes.massive import KINDS, Misbehaviour, parse_misbehaviour
from streamworkers_fakes.massive.misbehaviour import ReceivedCall
from streamworkers_fakes.massive.misbehaviour_rules import MisbehaviourRules
from streamworkers_fakes.massive.spoiling import misbehave


def asked(path: str = "/v2/aggs/x", ticker: str | None = "KO", endpoint: str = "aggregates") -> ReceivedCall:
    return ReceivedCall(f"http://host{path}", path, endpoint, ticker, "id")


def struck(rules: MisbehaviourRules, calls: Iterable[ReceivedCall]) -> list[str | None]:
    return [None if rule is None else rule.name for rule in map(rules.strike, calls)]


@given(
    st.sampled_from(sorted(KINDS)),
    st.frozensets(st.sampled_from(("A", "BRK.B", "KO"))),
    st.none() | st.integers(1, 99),
    st.floats(0, 1),
    st.sampled_from(("/", "/v3")),
)
def test_a_written_rule_is_read_as_it_is(
    name: str, tickers: frozenset[str], calls: int | None, share: float, path: str
) -> None:
    words = [name, *(f"ticker={ticker}" for ticker in tickers), f"share={share!r}", f"path={path}"]
    text = ",".join(words if calls is None else [*words, f"calls={calls}"])
    assert parse_misbehaviour(text) == Misbehaviour(name, None, tickers, calls, share, path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("server_error", 500),
        ("server_error=503", 503.0),
        ("rate_limit", None),
        ("rate_limit=0", 0.0),
        ("timeout=0.5", 0.5),
        ("random_failures=1", 1.0),
        ("redirect=https://a.invalid/", "https://a.invalid"),
        ("foreign_next_url", "http://other-host.invalid"),
        ("delayed", None),
    ],
)
def test_a_value_is_read_as_the_misbehaviour_means_it(text: str, value: float | str | None) -> None:
    assert parse_misbehaviour(text).value == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("delayed=3", "misbehaviour delayed takes no value, not '3'"),
        ("redirect=ftp://a", "misbehaviour redirect: 'ftp://a' is not an http:// or https:// URL"),
        ("server_error=404", "misbehaviour server_error: '404' is not a whole number from 500 to 599"),
        ("server_error=500.5", "misbehaviour server_error: '500.5' is not a whole number from 500 to 599"),
        ("rate_limit=x", "misbehaviour rate_limit: 'x' is not a whole number from 0 to 86400"),
        ("rate_limit=", "misbehaviour rate_limit: '' is not a whole number from 0 to 86400"),
        ("timeout=-1", "misbehaviour timeout: '-1' is not a number from 0"),
        ("timeout=inf", "misbehaviour timeout: 'inf' is not a number from 0"),
        ("gateway_timeout=nan", "misbehaviour gateway_timeout: 'nan' is not a number from 0"),
        ("huge_body=5000", "misbehaviour huge_body: '5000' is not a number from 0.001 to 4096"),
        ("random_failures=2", "misbehaviour random_failures: '2' is not a number from 0 to 1"),
        ("delayed,share=2", "misbehaviour delayed: share 2 is not from 0 to 1"),
        ("delayed,share=nan", "misbehaviour delayed: share nan is not from 0 to 1"),
        ("delayed,share=x", "misbehaviour 'delayed,share=x': share 'x' is not a number"),
        ("delayed,calls=0", "misbehaviour delayed: calls 0 is below 1"),
        ("delayed,calls=1.5", "misbehaviour 'delayed,calls=1.5': calls '1.5' is not a whole number"),
        ("delayed,tick=A", "misbehaviour 'delayed,tick=A': 'tick=A' is none of ticker=, calls=, share=, path="),
    ],
)
def test_a_rule_that_breaks_a_rule_is_rejected(text: str, message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        parse_misbehaviour(text)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("time_out", "did you mean 'timeout'?"),
        ("", f"there are {len(KINDS)}, from 'absurd_price' to 'wrong_ticker'"),
    ],
)
def test_an_unknown_name_is_rejected_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(UnknownNameError) as raised:
        parse_misbehaviour(name)
    assert str(raised.value) == f"no misbehaviour is named {name!r}; {hint}"


def test_the_first_rule_that_concerns_a_call_strikes_it() -> None:
    rules = MisbehaviourRules(
        1, map(parse_misbehaviour, ("delayed,ticker=KO,calls=2", "null_open", "wrong_count,path=/v3"))
    )
    assert struck(rules, [asked()] * 3) == ["delayed", "delayed", "null_open"]
    assert struck(rules, [asked("/v3/x", "KO", "splits"), asked("/v2/y", None, "tickers")]) == ["wrong_count", None]
    assert [rule.name for rule in rules.list()] == ["delayed", "null_open", "wrong_count"]
    rules.clear()
    assert struck(rules, [asked()]) == [None]


@given(st.permutations(range(40)), st.integers(0, 9))
def test_whether_a_rule_strikes_does_not_depend_on_the_order_of_different_calls(order: list[int], seed: int) -> None:
    def answers(numbers: Iterable[int]) -> dict[int, str | None]:
        rules = MisbehaviourRules(seed, [Misbehaviour("random_failures", 0.5, share=0.8)])
        calls = list(numbers)
        return dict(zip(calls, struck(rules, [asked(f"/{number}") for number in calls]), strict=True))

    assert answers(order) == answers(range(40))


def test_a_share_is_about_that_part_of_the_calls_and_a_repeated_call_may_fare_better() -> None:
    rules = MisbehaviourRules(1, [Misbehaviour("delayed", share=0.3)])
    assert 250 < len([name for name in struck(rules, [asked()] * 1000) if name]) < 350
    assert not any(struck(MisbehaviourRules(1, [Misbehaviour("delayed", share=0.0)]), [asked()] * 100))


def test_random_failures_become_each_kind_of_failure() -> None:
    rules = MisbehaviourRules(3, [Misbehaviour("random_failures", 0.5)])
    found = Counter(rule and (rule.name, rule.value) for rule in map(rules.strike, [asked()] * 2000))
    assert set(found) == {
        None,
        ("rate_limit", None),
        ("server_error", 500),
        ("server_error", 502),
        ("truncated_json", None),
        ("gateway_timeout", 0.2),
    }
    assert 900 < found[None] < 1100
    assert min(found.values()) > 130


def test_a_limited_number_of_calls_is_counted_over_all_urls() -> None:
    rules = MisbehaviourRules(1, [Misbehaviour("delayed", calls=3)])
    assert struck(rules, [asked(f"/{number}") for number in range(5)]) == ["delayed"] * 3 + [None] * 2


@pytest.mark.parametrize("name", ["bad_bar", "duplicate_bars", "null_open", "out_of_range_bars", "unordered_bars"])
def test_an_answer_without_bars_cannot_have_spoilt_ones(name: str) -> None:
    assert misbehave(Misbehaviour(name), asked(), b'{"ticker":"KO","resultsCount":0}') is None
