"""Splits and tickers over HTTP: filters, order and pages."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from streamworkers_fakes.massive import RunningFakeMassive

Walk = Callable[[str], list[dict[str, Any]]]
SPLITS = "/v3/reference/splits"
TICKERS = "/v3/reference/tickers"


def found(pages: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for page in pages for row in page["results"]]


def test_splits_are_listed_newest_first(walk: Walk) -> None:
    (page,) = walk(SPLITS)
    names = ("ticker", "execution_date", "split_from", "split_to")
    assert found([page], *names) == [
        ("MSFT", "2025-12-15", 1, 2),
        ("AAPL", "2025-09-02", 1, 2),
        ("KO", "2025-08-04", 10, 1),
        ("AAPL", "2025-06-10", 1, 4),
    ]
    assert page["status"] == "OK"
    assert len({row["id"] for row in page["results"]}) == 4


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ("ticker=AAPL&order=asc", ["2025-06-10", "2025-09-02"]),
        ("execution_date=2025-08-04", ["2025-08-04"]),
        ("execution_date.gte=2025-08-04&execution_date.lt=2025-12-15", ["2025-09-02", "2025-08-04"]),
        ("execution_date.gt=2025-08-04&execution_date.lte=2025-12-15", ["2025-12-15", "2025-09-02"]),
        ("execution_date.gt=9999-12-31", []),
        ("execution_date.lt=0001-01-01", []),
        ("ticker=KO&execution_date.gt=2025-08-04", []),
    ],
)
def test_splits_are_chosen_by_ticker_and_day(walk: Walk, query: str, days: list[str]) -> None:
    assert found(walk(f"{SPLITS}?{query}"), "execution_date") == [(day,) for day in days]


@pytest.mark.parametrize("query", ["order=asc", "order=desc", "ticker=AAPL"])
def test_pages_of_splits_give_exactly_the_unpaged_ones(walk: Walk, query: str) -> None:
    (whole,) = walk(f"{SPLITS}?{query}&limit=1000")
    pages = walk(f"{SPLITS}?{query}&limit=1")
    assert len(pages) == len(whole["results"])
    assert [row for page in pages for row in page["results"]] == whole["results"]


def test_tickers_are_those_with_bars_today(walk: Walk, server: RunningFakeMassive) -> None:
    (page,) = walk(TICKERS)
    assert found([page], "ticker") == [(symbol,) for symbol in server.market.symbols]
    assert page["results"][0]["name"] == f"{server.market.symbols[0]} Inc."
    assert found(walk(f"{TICKERS}?ticker=KO"), "ticker", "type", "active") == [("KO", "CS", True)]
    assert found(walk(f"{TICKERS}?market=crypto"), "ticker") == []
    assert [len(page["results"]) for page in walk(f"{TICKERS}?limit=20&order=desc")] == [20, 20, 1]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (f"{SPLITS}?execution_date.gte=soon", "execution_date.gte 'soon' is not YYYY-MM-DD"),
        (f"{SPLITS}?limit=1001", "limit '1001' is not a whole number from 1 to 1000"),
        (f"{TICKERS}?order=up", "order 'up' is neither asc nor desc"),
    ],
)
def test_a_list_that_breaks_a_rule_is_answered_400(client: httpx.Client, asked: str, error: str) -> None:
    answer = client.get(asked)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_a_cursor_that_is_none_is_ignored(walk: Walk) -> None:
    assert len(found(walk(f"{SPLITS}?cursor=nonsense&offset=x"), "id")) == 4
