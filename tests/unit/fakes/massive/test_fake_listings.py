"""Symbols that come and go, trade seldom or always, change their name, or whose bars are corrected."""

from datetime import date, datetime, timedelta

import numpy as np
import pytest

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers_fakes.massive import FakeCorrection, FakeListings, FakeMarket, FakeRename
from streamworkers_fakes.massive.listings import parse_correction, parse_days, parse_rename, parse_shares
from streamworkers_fakes.massive.trading_days import midnight_ms

FIRST, LAST = date(2025, 10, 1), date(2025, 11, 28)
NOW = datetime(2025, 12, 1, 12, tzinfo=EXCHANGE_ZONE)
KNOWN = datetime(2025, 11, 25, 12, tzinfo=EXCHANGE_ZONE)
LISTINGS = FakeListings(
    listed_from={"IPO": date(2025, 11, 3)},
    delisted_after={"GONE": date(2025, 10, 31)},
    thin={"THIN": 0.4},
    renames=(FakeRename("OLD", "NEW", date(2025, 11, 3)),),
    always_open=frozenset({"X:BTCUSD"}),
    corrections=(FakeCorrection("KO", date(2025, 11, 20), 1.001, KNOWN),),
)
MARKET = FakeMarket(listings=LISTINGS)
PLAIN = FakeMarket()


def days_of(market: FakeMarket, symbol: str, now: datetime = NOW) -> list[date]:
    bars = market.days(symbol, FIRST, LAST, now=now)
    return [datetime.fromtimestamp(int(ms) / 1000, EXCHANGE_ZONE).date() for ms in bars.start_ms]


def test_a_symbol_has_bars_while_it_is_listed() -> None:
    whole = days_of(PLAIN, "IPO")
    assert days_of(MARKET, "IPO") == [day for day in whole if day >= date(2025, 11, 3)]
    assert days_of(MARKET, "GONE") == [day for day in whole if day <= date(2025, 10, 31)]
    assert len(MARKET.minutes("GONE", date(2025, 11, 3))) == 0


def test_a_renamed_symbol_goes_on_under_its_new_name() -> None:
    old, new = days_of(MARKET, "OLD"), days_of(MARKET, "NEW")
    assert (old[-1], new[0]) == (date(2025, 10, 31), date(2025, 11, 3))
    before, after = MARKET.days("OLD", FIRST, LAST), MARKET.days("NEW", FIRST, LAST)
    truth = FakeMarket().days("OLD", FIRST, LAST)
    assert np.concatenate([before.close, after.close]).tolist() == truth.close.tolist()


def test_a_thin_symbol_trades_on_some_days_and_in_some_minutes() -> None:
    days = days_of(MARKET, "THIN")
    assert 5 < len(days) < 30
    for day in days[:5]:
        minutes, bar = MARKET.minutes("THIN", day), MARKET.days("THIN", day, day)
        assert 50 < len(minutes) < 600
        clock = (minutes.start_ms - midnight_ms(day)) // 60_000
        regular = minutes.where((clock >= 570) & (clock < 960))
        assert (regular.open[0], regular.close[-1]) == (bar.open[0], bar.close[0])
        assert (regular.high.max(), regular.low.min()) == (bar.high[0], bar.low[0])
    off = next(day for day in PLAIN.sessions(FIRST, LAST) if day not in days)
    assert len(MARKET.minutes("THIN", off)) == 0
    assert "THIN" not in MARKET.grouped(off)[0]


def test_a_symbol_that_always_trades_has_bars_on_each_day_and_minute() -> None:
    days = days_of(MARKET, "X:BTCUSD")
    assert len(days) == (LAST - FIRST).days + 1
    assert len(MARKET.minutes("X:BTCUSD", date(2025, 11, 16))) == 24 * 60  # a Sunday
    change = date(2025, 3, 9)  # clocks go forward
    starts = np.concatenate([MARKET.minutes("X:BTCUSD", change + timedelta(days=n)).start_ms for n in (0, 1)])
    assert (np.diff(starts) == 60_000).all()


def test_a_late_correction_changes_one_close_from_its_moment_on() -> None:
    moments, last = (KNOWN - timedelta(minutes=1), NOW), date(2025, 11, 24)
    before, after = (MARKET.days("KO", FIRST, last, now=moment) for moment in moments)
    changed = [place for place in range(len(before)) if before.close[place] != after.close[place]]
    assert [days_of(MARKET, "KO")[place] for place in changed] == [date(2025, 11, 20)]
    symbols, bars = MARKET.grouped(date(2025, 11, 20), now=NOW)
    assert bars.close[symbols.index("KO")] == after.close[changed[0]]
    assert (after.close <= after.high).all()


def test_more_symbols_and_parts_of_shares_on_demand() -> None:
    market = FakeMarket(fillers=12_459, fractional=True)
    symbols, bars = market.grouped(date(2025, 11, 20))
    assert len(symbols) == len(bars) == len(market.symbols) == 12_500
    assert (bars.volume != np.floor(bars.volume)).mean() > 0.9
    minutes = market.minutes("KO", date(2025, 11, 20))
    assert (minutes.volume != np.floor(minutes.volume)).mean() > 0.9
    place = symbols.index("KO")
    assert market.days("KO", date(2025, 11, 20), date(2025, 11, 20)).volume[0] == bars.volume[place]


def test_texts_of_the_command_are_read() -> None:
    assert parse_days("--delisted-after", ["A:B:2025-01-02"]) == {"A:B": date(2025, 1, 2)}
    assert parse_shares(["THIN:0.2"]) == {"THIN": 0.2}
    assert parse_rename("FB:META:2022-06-09") == FakeRename("FB", "META", date(2022, 6, 9))
    assert parse_correction("KO:2025-11-20:1.001:2025-11-25T12:00-05:00") == LISTINGS.corrections[0]


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (lambda text: parse_days("--delisted-after", [text]), "A", "--delisted-after 'A' is not SYMBOL:YYYY-MM-DD"),
        (lambda text: parse_shares([text]), "A:x", "--thin 'A:x' is not SYMBOL:SHARE, as THIN:0.2"),
        (parse_rename, "FB:2022-06-09", "--rename 'FB:2022-06-09' is not OLD:NEW:YYYY-MM-DD"),
        (parse_correction, "KO:2025-11-20", "--correct 'KO:2025-11-20' is not SYMBOL:YYYY-MM-DD:FACTOR:MOMENT"),
        (parse_correction, "KO:2025-11-20:0:2025-11-25T12:00-05:00",
         "correction of KO: the factor is not above 0, or the moment has no offset"),
        (lambda _: FakeListings(thin={"A": 2.0}), "", "thin A: the share 2 is not above 0 and up to 1"),
    ],
)  # fmt: skip
def test_a_text_that_breaks_a_rule_is_rejected(parse, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadInputError) as raised:
        parse(text)
    assert str(raised.value) == message
