"""The reference endpoints: splits, tickers with their days of listing, renames, and whether the market is open."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec

from streamworkers_fakes.massive.market import FakeMarket
from streamworkers_fakes.massive.pages import number_in
from streamworkers_fakes.massive.queries import day_filter, is_ascending, is_true, make_cursor, read_date, read_limit
from streamworkers_fakes.massive.splits import FakeSplit
from streamworkers_fakes.massive.trading_days import milliseconds, new_york_date

_MOST_ROWS, _MOST_STOCK_SPLITS = 1000, 5000
_DEFAULT_SPLITS, _DEFAULT_STOCK_SPLITS, _DEFAULT_TICKERS = 10, 100, 100


@dataclass(frozen=True, slots=True)
class ReferenceCall:
    """A call for reference data: where it arrived, its parameters with those of its cursor, and the API's clock."""

    base_url: str
    raw_path: str
    parameters: dict[str, str]
    words: list[str]
    request_id: str
    now: datetime


class MissingError(Exception):
    """There is no such ticker: the API answers 404."""


def list_splits(market: FakeMarket, call: ReferenceCall) -> bytes:
    """Return a page of `/v3/reference/splits`, the newest first by default."""
    chosen = _chosen_splits(market, call)
    if not is_ascending(call.parameters, "order", "desc"):
        chosen.reverse()
    rows = [
        {
            "id": _split_id(split),
            "execution_date": split.execution_date.isoformat(),
            "split_from": split.split_from,
            "split_to": split.split_to,
            "ticker": split.ticker,
        }
        for split in chosen
    ]
    return _page(call, rows, _DEFAULT_SPLITS, _MOST_ROWS)


def list_stock_splits(market: FakeMarket, call: ReferenceCall) -> bytes:
    """Return a page of `/stocks/v1/splits`, which says the kind of a split and its factor for older prices."""
    chosen = _chosen_splits(market, call)
    if call.parameters.get("sort", "execution_date.desc").endswith(".desc"):
        chosen.reverse()
    today = new_york_date(call.now)
    rows = [
        {
            "adjustment_type": "forward_split" if split.ratio >= 1 else "reverse_split",
            "execution_date": split.execution_date.isoformat(),
            "historical_adjustment_factor": 1 / _ratio_until(market, split, today),
            "id": f"E{_split_id(split)}",
            "split_from": split.split_from,
            "split_to": split.split_to,
            "ticker": split.ticker,
        }
        for split in chosen
    ]
    return _page(call, rows, _DEFAULT_STOCK_SPLITS, _MOST_STOCK_SPLITS)


def list_tickers(market: FakeMarket, call: ReferenceCall) -> bytes:
    """Return a page of `/v3/reference/tickers`: those that are listed on `date`, or with active=false the others."""
    parameters, today = call.parameters, new_york_date(call.now)
    day = read_date(parameters["date"], "date") if "date" in parameters else today
    active, wanted = is_true(parameters, "active", default=True), parameters.get("ticker")
    symbols = [symbol for symbol in market.listed_symbols if wanted in (None, symbol)]
    if parameters.get("market", "stocks") != "stocks":
        symbols = []
    rows = [_ticker(market, symbol, today) for symbol in symbols if _is_known(market, symbol, day, active=active)]
    if not is_ascending(parameters, "order", "asc"):
        rows.reverse()
    return _page(call, rows, _DEFAULT_TICKERS, _MOST_ROWS)


def show_ticker(market: FakeMarket, call: ReferenceCall) -> bytes:
    """Return `/v3/reference/tickers/{ticker}` with its day of listing. Raises MissingError."""
    symbol, today = call.words[0], new_york_date(call.now)
    if symbol in market.unknown or market.listings.first_day(symbol) > today:
        raise MissingError(f"Ticker not found: {symbol}")
    row = _ticker(market, symbol, today)
    listed = market.listings.first_day(market.listings.family(symbol))
    if listed > date.min:
        row["list_date"] = listed.isoformat()
    return msgspec.json.encode({"request_id": call.request_id, "results": row, "status": "OK"})


def show_events(market: FakeMarket, call: ReferenceCall) -> bytes:
    """Return `/vX/reference/tickers/{ticker}/events`, the tickers of the same shares. Raises MissingError."""
    symbol, listings = call.words[0], market.listings
    if symbol in market.unknown:
        raise MissingError(f"Ticker not found: {symbol}")
    family = listings.family(symbol)
    changes = [(rename.day, rename.new) for rename in listings.renames if listings.family(rename.new) == family]
    first = listings.first_day(family)
    rows = [(first, family)] if first > date.min else []
    events = [
        {"type": "ticker_change", "date": day.isoformat(), "ticker_change": {"ticker": ticker}}
        for day, ticker in sorted(rows + changes, reverse=True)
    ]
    results = {"name": f"{family} Inc.", "composite_figi": _figi(family), "cik": _cik(family), "events": events}
    return msgspec.json.encode({"request_id": call.request_id, "results": results, "status": "OK"})


def show_status(market: FakeMarket, call: ReferenceCall) -> bytes:
    """Return `/v1/marketstatus/now`."""
    table, now_ms = market.table, milliseconds(call.now)
    today = table.between(new_york_date(call.now), new_york_date(call.now))
    is_open = any(
        table.midnight_ms[place] + table.open_minute[place] * 60_000
        <= now_ms
        < table.midnight_ms[place] + table.close_minute[place] * 60_000
        for place in today
    )
    state = "open" if is_open else "closed"
    body = {
        "market": state,
        "earlyHours": False,
        "afterHours": False,
        "serverTime": call.now.isoformat(timespec="seconds"),
        "exchanges": dict.fromkeys(("nasdaq", "nyse", "otc"), state),
        "currencies": {"crypto": "open", "fx": state},
    }
    return msgspec.json.encode(body)


def _chosen_splits(market: FakeMarket, call: ReferenceCall) -> list[FakeSplit]:
    is_wanted, parameters = day_filter(call.parameters, "execution_date"), call.parameters
    tickers = {parameters[name] for name in ("ticker",) if name in parameters}
    tickers |= set(parameters["ticker.any_of"].split(",")) if "ticker.any_of" in parameters else set()
    return [
        split for split in market.splits if is_wanted(split.execution_date) and (not tickers or split.ticker in tickers)
    ]


def _ratio_until(market: FakeMarket, split: FakeSplit, today: date) -> float:
    ratio = 1.0
    for other in market.splits:
        if other.ticker == split.ticker and split.execution_date <= other.execution_date <= today:
            ratio *= other.ratio
    return ratio


def _is_known(market: FakeMarket, symbol: str, day: date, *, active: bool) -> bool:
    if symbol in market.unknown or market.listings.first_day(symbol) > day:
        return False
    return (day <= market.listings.last_day(symbol)) is active


def _ticker(market: FakeMarket, symbol: str, today: date) -> dict[str, Any]:
    family = market.listings.family(symbol)
    row: dict[str, Any] = {
        "ticker": symbol,
        "name": f"{family} Inc.",
        "market": "stocks",
        "locale": "us",
        "primary_exchange": "XNYS",
        "type": "CS",
        "active": today <= market.listings.last_day(symbol),
        "currency_name": "usd",
        "cik": _cik(family),
        "composite_figi": _figi(family),
    }
    if not row["active"]:
        row["delisted_utc"] = f"{market.listings.last_day(symbol)}T00:00:00Z"
    return row


def _figi(family: str) -> str:
    return f"BBG{hashlib.blake2b(family.encode(), digest_size=5).hexdigest().upper()[:9]}"


def _cik(family: str) -> str:
    return f"{int.from_bytes(hashlib.blake2b(family.encode(), digest_size=4).digest(), 'little'):010d}"


def _split_id(split: FakeSplit) -> str:
    return hashlib.blake2b(repr(split).encode(), digest_size=16).hexdigest()


def _page(call: ReferenceCall, rows: list[dict[str, Any]], default: int, most: int) -> bytes:
    """Return a page of rows; where it goes on is in the cursor of its next_url alone."""
    parameters = call.parameters
    limit, start = read_limit(parameters, default, most), max(number_in(parameters.get("offset", "0")), 0)
    body: dict[str, Any] = {"results": rows[start : start + limit], "status": "OK", "request_id": call.request_id}
    if start + limit < len(rows):
        cursor = make_cursor({**parameters, "offset": str(start + limit)})
        body["next_url"] = f"{call.base_url}{call.raw_path}?cursor={cursor}"
    return msgspec.json.encode(body)


REFERENCE: dict[str, Callable[[FakeMarket, ReferenceCall], bytes]] = {
    "splits": list_splits,
    "stock_splits": list_stock_splits,
    "tickers": list_tickers,
    "ticker": show_ticker,
    "events": show_events,
    "status": show_status,
}
