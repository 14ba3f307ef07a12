"""The table of layouts: how the files that people have name their columns, write times and numbers, and are recognised.

A header names a layout if it has all names of its `signature` and none of `without`; the first layout of the table
that fits is taken. Names are compared in lower case, without `<` and `>`. docs/guides/loading.md shows a line of each.
"""

import re
from collections.abc import Sequence

from streamworkers.market.calendar.exchange import ALWAYS_OPEN
from streamworkers.market.files.layout import OHLC, PRICES, TIME_COLUMNS, Layout


def _named(*names: str) -> frozenset[str]:
    return frozenset(names)


_ADJUSTED = {"adjusted": ("adj close", "adjusted_close", "adjusted close", "adjclose", "adj_close")}
_NSE_SERIES = frozenset({"EQ", "BE", "BZ", "SM", "ST"})
_BSE_GROUPS = frozenset({"A", "B", "E", "M", "MT", "T", "X", "XT", "Z"})

LAYOUTS: Sequence[Layout] = (
    Layout(
        "massive",
        "Massive (Polygon) flat files",
        {"symbol": ("ticker",), "time": ("window_start",), **OHLC, "volume": ("volume",)},
        _named("ticker", "window_start"),
        unit="ns",
    ),
    Layout(
        "tiingo",
        "Tiingo, end of day",
        {
            "symbol": ("symbol", "ticker"),
            "time": ("date",),
            **OHLC,
            "volume": ("volume",),
            "adjusted": ("adjclose",),
            **{f"adjusted_{name}": (f"adj{name}",) for name in (*PRICES, "volume")},
        },
        _named("date", "adjclose", "adjopen"),
    ),
    Layout(
        "eodhd",
        "EOD Historical Data",
        {
            "symbol": ("code", "symbol"),
            "time": ("date", "timestamp"),
            **OHLC,
            "volume": ("volume",),
            "adjusted": ("adjusted_close",),
        },
        _named("date", "adjusted_close"),
    ),
    Layout(
        "eodhd_intraday",
        "EOD Historical Data, intraday",
        {"time": ("timestamp",), **OHLC, "volume": ("volume",)},
        _named("timestamp", "gmtoffset", "datetime"),
        unit="s",
    ),
    Layout(
        "alphavantage",
        "Alpha Vantage",
        {
            "time": ("timestamp",),
            **OHLC,
            "volume": ("volume",),
            "adjusted": ("adjusted_close", "adjusted close"),
        },
        _named("timestamp", "adjusted_close", "split_coefficient"),
    ),
    Layout(
        "yahoo",
        "Yahoo Finance, and yfinance with one row of header",
        {
            "symbol": ("symbol", "ticker"),
            "time": ("date", "datetime"),
            **OHLC,
            "volume": ("volume",),
            **_ADJUSTED,
        },
        _named("adj close"),
    ),
    Layout(
        "nasdaq",
        "Nasdaq.com, historical quotes",
        {
            "time": ("date",),
            "open": ("open",),
            "high": ("high",),
            "low": ("low",),
            "close": ("close/last",),
            "volume": ("volume",),
        },
        _named("date", "close/last"),
        order="MDY",
    ),
    Layout(
        "investing",
        "Investing.com, historical data",
        {
            "time": ("date",),
            "open": ("open",),
            "high": ("high",),
            "low": ("low",),
            "close": ("price",),
            "volume": ("vol.",),
        },
        _named("date", "price", "open", "high", "low", "change %"),
        order="MDY",
    ),
    Layout(
        "metatrader5",
        "MetaTrader 5, exported bars",
        {"time": ("date",), "clock": ("time",), **OHLC, "volume": ("vol", "tickvol")},
        _named("date", "open", "tickvol", "vol"),
        delimiter="\t",
        zone="UTC",
        calendar=ALWAYS_OPEN,
        symbol_in_name=re.compile(r"(?P<symbol>[A-Za-z0-9.#]+)_(?:M\d+|H\d+|Daily|Weekly|Monthly)_\d{12}_\d{12}"),
    ),
    Layout(
        "metatrader4",
        "MetaTrader 4, history centre",
        {
            "time": ("1",),
            "clock": ("2",),
            "open": ("3",),
            "high": ("4",),
            "low": ("5",),
            "close": ("6",),
            "volume": ("7",),
        },
        line=re.compile(r"\d{4}\.\d{2}\.\d{2},\d{2}:\d{2}(?:,[0-9.]+){5}"),
        zone="UTC",
        calendar=ALWAYS_OPEN,
        symbol_in_name=re.compile(r"(?P<symbol>[A-Za-z#.]+?)(?:1440|10080|43200|240|60|30|15|5|1)"),
    ),
    Layout(
        "binance",
        "Binance klines",
        {"time": ("1",), "open": ("2",), "high": ("3",), "low": ("4",), "close": ("5",), "volume": ("6",)},
        line=re.compile(r"\d{13}(?:\d{3})?(?:,[0-9.]+){5},\d{13}(?:\d{3})?(?:,[0-9.]+){5}"),
        zone="UTC",
        calendar=ALWAYS_OPEN,
        symbol_in_name=re.compile(r"(?P<symbol>[A-Z0-9]+)-\d+(?:s|m|h|d|w|mo)-\d{4}-\d{2}(?:-\d{2})?"),
    ),
    Layout(
        "binance_futures",
        "Binance klines with a header",
        {"time": ("open_time",), **OHLC, "volume": ("volume",)},
        _named("open_time", "close_time", "quote_volume"),
        zone="UTC",
        calendar=ALWAYS_OPEN,
        symbol_in_name=re.compile(r"(?P<symbol>[A-Z0-9]+)-\d+(?:s|m|h|d|w|mo)-\d{4}-\d{2}(?:-\d{2})?"),
    ),
    Layout(
        "stooq",
        "Stooq, bulk files",
        {"symbol": ("ticker",), "time": ("date",), "clock": ("time",), **OHLC, "volume": ("vol",)},
        _named("ticker", "per", "date", "time", "vol", "openint"),
    ),
    Layout(
        "interactive_brokers",
        "Interactive Brokers, historical data of the API",
        {"symbol": ("symbol",), "time": ("date",), **OHLC, "volume": ("volume",)},
        _named("date", "open", "barcount"),
    ),
    Layout(
        "kaggle_sp500",
        "Kaggle, S&P 500 stock data",
        {"symbol": ("name",), "time": ("date",), **OHLC, "volume": ("volume",)},
        _named("date", "open", "close", "name"),
    ),
    Layout(
        "nse_udiff",
        "NSE and BSE bhavcopy in the common format (UDiFF)",
        {
            "symbol": ("tckrsymb",),
            "time": ("traddt",),
            "open": ("opnpric",),
            "high": ("hghpric",),
            "low": ("lwpric",),
            "close": ("clspric",),
            "volume": ("ttltradgvol",),
        },
        _named("traddt", "tckrsymb", "opnpric", "ttltradgvol"),
        calendar="XBOM",
        keeps={"fininstrmtp": frozenset({"STK"}), "sctysrs": _NSE_SERIES | _BSE_GROUPS},
    ),
    Layout(
        "nse_bhavcopy",
        "NSE bhavcopy",
        {"symbol": ("symbol",), "time": ("timestamp",), **OHLC, "volume": ("tottrdqty",)},
        _named("symbol", "series", "timestamp", "tottrdqty"),
        calendar="XBOM",
        keeps={"series": _NSE_SERIES},
    ),
    Layout(
        "nse_full_bhavcopy",
        "NSE bhavcopy with deliveries",
        {
            "symbol": ("symbol",),
            "time": ("date1",),
            **{name: (f"{name}_price",) for name in PRICES},
            "volume": ("ttl_trd_qnty",),
        },
        _named("symbol", "series", "date1", "open_price", "ttl_trd_qnty"),
        calendar="XBOM",
        keeps={"series": _NSE_SERIES},
    ),
    Layout(
        "bse_bhavcopy",
        "BSE bhavcopy; the date is in the file's name (EQddmmyy) or in TRADING_DATE",
        {"symbol": ("sc_code",), "time": ("trading_date",), **OHLC, "volume": ("no_of_shrs",)},
        _named("sc_code", "open", "no_of_shrs"),
        calendar="XBOM",
        date_in_name=re.compile(r"EQ(?:_ISINCODE_)?(?P<day>\d{2})(?P<month>\d{2})(?P<year>\d{2})", re.IGNORECASE),
    ),
    Layout(
        "dukascopy",
        "Dukascopy, historical data",
        {"time": ("gmt time",), **OHLC, "volume": ("volume",)},
        _named("gmt time"),
        order="DMY",
        zone="UTC",
        calendar=ALWAYS_OPEN,
        symbol_in_name=re.compile(r"(?P<symbol>[A-Z0-9.]+)_Candlestick_.+"),
    ),
    Layout(
        "dukascopy_utc",
        "Dukascopy, times in UTC",
        {"time": ("time (utc)",), **OHLC, "volume": ("volume",)},
        _named("time (utc)"),
        order="DMY",
        zone="UTC",
        calendar=ALWAYS_OPEN,
        symbol_in_name=re.compile(r"(?P<symbol>[A-Z0-9.]+)_Candlestick_.+"),
    ),
    Layout(
        "dukascopy_local",
        "Dukascopy, local times with their offset",
        {"time": ("local time",), **OHLC, "volume": ("volume",)},
        _named("local time"),
        order="DMY",
        calendar=ALWAYS_OPEN,
        symbol_in_name=re.compile(r"(?P<symbol>[A-Z0-9.]+)_Candlestick_.+"),
    ),
    Layout(
        "excel_european",
        "Excel of a European country: `;`, decimal comma, DD.MM.YYYY; must be named",
        {
            "symbol": ("symbol", "ticker", "isin", "kürzel"),
            "time": ("date", "datum", "zeit", "fecha", "data"),
            "open": ("open", "eröffnung", "erster", "ouv", "ouverture", "apertura"),
            "high": ("high", "hoch", "höchst", "haut", "máximo", "massimo"),
            "low": ("low", "tief", "tiefst", "bas", "mínimo", "minimo"),
            "close": ("close", "schluss", "schlusskurs", "clôture", "clot", "cierre", "chiusura"),
            "volume": ("volume", "volumen", "stück", "stuecke", "vol"),
        },
        delimiter=";",
        decimal=",",
        order="DMY",
        recognised=False,
    ),
    Layout(
        "tradingview",
        "TradingView, exported chart data",
        {"symbol": ("symbol",), "time": ("time",), **OHLC, "volume": ("volume",)},
        _named("time", *PRICES),
        without=_named("date", "timestamp", "datetime"),
        calendar=ALWAYS_OPEN,
        symbol_in_name=re.compile(r"(?:[A-Z]+_)?(?P<symbol>[A-Z0-9.!]+), ?\w+(?:_\w+)?"),
    ),
    Layout(
        "standard",
        "Named columns in any order: symbol, date or timestamp, open, high, low, close, volume",
        {
            "symbol": ("symbol", "ticker"),
            "time": TIME_COLUMNS,
            "clock": ("time",),
            "open": ("open", "o"),
            "high": ("high", "h"),
            "low": ("low", "l"),
            "close": ("close", "c"),
            "volume": ("volume", "vol", "v"),
            **_ADJUSTED,
        },
    ),
)
STANDARD = LAYOUTS[-1]
LAYOUT_NAMES = tuple(layout.name for layout in LAYOUTS)


def layout_named(name: str) -> Layout:
    """Return the layout of that name, one of `LAYOUT_NAMES`."""
    return next(layout for layout in LAYOUTS if layout.name == name)


def recognise(names: Sequence[str], first_line: str) -> Layout:
    """Return the layout that a header, or the first line of a file without one, shows."""
    known = set(names)
    for layout in LAYOUTS:
        if layout.recognised and layout.signature and layout.signature <= known and not layout.without & known:
            return layout
        if layout.line is not None and layout.line.fullmatch(first_line.strip()):
            return layout
    return STANDARD
