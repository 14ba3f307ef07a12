"""The functions of PostgreSQL by which every way into the product says which symbols have no bars."""

from streamworkers.database import Connection
from streamworkers.market.bars.unknown_symbols import describe_without_bars, find_near_symbol, find_without_bars

STORED = ("AAPL", "MSFT", "BRK.B", "BACpA", "F")
NEAR = {
    **dict.fromkeys(("aapl", "AALP", "AAP", "AAPLL", "AXPL", "aalp", "APL"), "AAPL"),
    **dict.fromkeys(("BRKB", "BRK-B", "brk.b", "BRK/B"), "BRK.B"),
    **dict.fromkeys(("BACPA", "BACA"), "BACpA"),
    **dict.fromkeys(("G", "XF", "APPEL", "ZZZZ", "A" * 32, "A" * 300, ""), None),
    "f": "F",
}


def test_symbols_without_bars_are_found_and_what_was_probably_meant(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO ohlcv_daily SELECT s, '2026-01-02', 1, 1, 1, 1, 1 FROM unnest(%s::text[]) s", ([*STORED],)
    )
    connection.execute("INSERT INTO ohlcv_weekly VALUES ('WEEK', '2026-01-02', 1, 1, 1, 1, 1)")
    assert {slip: find_near_symbol(connection, slip) for slip in NEAR} == NEAR
    assert find_without_bars(connection, ["ZZ", "WEEK", "aapl", "AAPL"]) == ["ZZ", "aapl"]
    assert describe_without_bars(connection, ["WEEK", "F"]) is None
    many = describe_without_bars(connection, [f"N{number}" for number in range(7)])
    assert many == "no bars of N0, N1, N2, N3, N4 and 2 more are stored; `streamworkers load --symbols` loads them"
