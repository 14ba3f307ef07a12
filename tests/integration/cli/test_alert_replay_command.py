"""`streamworkers alerts replay` prints what both evaluations have found, and ends with 1 if they differ."""

from pathlib import Path

from command_line import Run
from streamworkers.database import Connection

PRICES = [100, 101, 99, 103, 104]
DAYS = [3, 4, 5, 6, 7]  # sessions of November 2025


def test_replay_compares_with_what_has_fired(cli: Run, connection: Connection, tmp_path: Path) -> None:
    lines = [f"AAA,2025-11-{day:02},{p},{p},{p},{p},1000" for day, p in zip(DAYS, PRICES, strict=True)]
    (tmp_path / "bars.csv").write_text("\n".join(["symbol,date,open,high,low,close,volume", *lines]), encoding="utf-8")
    assert cli("bars", "import", tmp_path / "bars.csv").code == 0
    assert cli("alerts", "add", "AAA > 102", "--name", "high").code == 0
    answer = cli("alerts", "replay", "high")
    assert (answer.code, answer.out) == (0, "nothing fires\n0 bars: 0 the same as live, 0 different\n")
    # As if it had been added before the first bar.
    for statement in (
        "UPDATE alert_versions SET effective_from = '2025-11-01', rule_from = '2025-11-01'",
        "UPDATE alert_symbols SET since = '2025-11-01'",
    ):
        connection.execute(statement.encode())
    answer = cli("alerts", "replay", "high")
    assert answer.code == 1
    heading, row, end = answer.out.splitlines()
    assert heading.split() == [
        "symbol",
        "bar",
        "closed",
        "at",
        "kind",
        "version",
        "price",
        "suppressed",
        "by",
        "found",
        "by",
    ]
    assert row.split()[:2] == ["AAA", "2025-11-06"]
    assert row.split()[4:] == ["fire", "1", "103.0000", "replay"]
    assert end == "5 bars: 0 the same as live, 1 different"
    connection.execute(
        "INSERT INTO alert_firings (alert_id, symbol, bar_time, kind, closed_at, version, epoch, price, is_live,"
        " state_after) SELECT id, 'AAA', '2025-11-06T00:00-05', 'fire', '2025-11-06T16:00-05', 1, 1, 103, true, '{}'"
        " FROM alerts"
    )
    found = cli("alerts", "replay", "high", "--symbol", "AAA", "--json")
    assert (found.code, found.json["differences"], found.json["firings"][0]["found_by"]) == (0, 0, "both")
    assert cli("alerts", "replay", "high", "--since", "2025-11-07", "--json").json["firings"] == []
    unknown = cli("alerts", "replay", "hig")
    assert (unknown.code, unknown.err) == (2, "Error: no alert is named 'hig'; did you mean 'high'?\n")
