"""The bodies with bars: a page of one symbol's, and a day of all symbols."""

from dataclasses import replace
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from streamworkers_fakes.massive.market import FakeMarket
from streamworkers_fakes.massive.pages import DEFAULT_BARS, MOST_BARS, AggregatesPage, AggregatesRequest, read_request
from streamworkers_fakes.massive.queries import is_ascending, is_true, make_cursor, read_limit, show_truth
from streamworkers_fakes.massive.trading_days import MINUTE_MS


def read_aggregates_request(words: list[str], parameters: dict[str, str]) -> AggregatesRequest:
    """Return what a call for aggregates asks for. Raises BadInputError."""
    ticker, multiplier, timespan, first, last = words
    return replace(
        read_request(ticker, multiplier, timespan, first, last),
        adjusted=is_true(parameters, "adjusted", default=True),
        ascending=is_ascending(parameters, "sort", "asc"),
        limit=read_limit(parameters, DEFAULT_BARS, MOST_BARS),
    )


def write_aggregates(
    request: AggregatesRequest, page: AggregatesPage, base: str, range_words: tuple[str, str], request_id: str
) -> bytes:
    """Return a page of aggregates; `base` is the URL before the path, `range_words` are the range as it was asked."""
    counts = {"queryCount": page.base_count, "resultsCount": page.count, "adjusted": request.adjusted}
    after: dict[str, Any] = {"status": "OK", "request_id": request_id, "count": page.count}
    if page.next_ms is not None:
        after["next_url"] = base + _next_path(request, page.next_ms, range_words)
    return _with_rows({"ticker": request.ticker, **counts}, page.rows, after)


def _next_path(request: AggregatesRequest, next_ms: int, range_words: tuple[str, str]) -> str:
    first, last = (next_ms, range_words[1]) if request.ascending else (range_words[0], next_ms)
    path = f"/v2/aggs/ticker/{quote(request.ticker)}/range/{request.multiplier}/{request.timespan}/{first}/{last}"
    query = {
        "adjusted": show_truth(request.adjusted),
        "sort": "asc" if request.ascending else "desc",
        "limit": str(request.limit),
    }
    return f"{path}?cursor={make_cursor(query)}"


def write_day(market: FakeMarket, day: date, now: datetime, adjusted: bool, request_id: str) -> bytes:
    """Return the bars of a day of all symbols."""
    symbols, bars = market.grouped(day, now=now, adjusted=adjusted)
    count, rows = len(symbols), b""
    if count:
        table = market.table
        closes = bars.start_ms + table.close_minute[table.between(day, day)[0]] * MINUTE_MS
        rows = replace(bars, start_ms=closes).json_rows_of(symbols)
    counts = {"queryCount": count, "resultsCount": count, "adjusted": adjusted}
    return _with_rows(counts, rows, {"status": "OK", "request_id": request_id, "count": count})


def _with_rows(before: dict[str, Any], rows: bytes, after: dict[str, Any]) -> bytes:
    """A JSON object with encoded rows as `results` in its middle, without that key when there are none."""
    head, tail = msgspec.json.encode(before)[:-1], msgspec.json.encode(after)[1:]
    middle = (b',"results":[', rows, b"],") if rows else (b",",)
    return b"".join((head, *middle, tail))
