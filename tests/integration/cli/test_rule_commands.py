"""`streamworkers rules check --database` knows the names of the definitions."""

from command_line import Run


def test_names_of_definitions_are_known_with_the_database(cli: Run) -> None:
    known = cli("rules", "check", "--database", "rsi_14 < 30 and pattern engulfing bullish", "--json")
    assert known.code == 0, known.err
    assert known.json["text"] == "rsi(14) < 30 and pattern cdlengulfing bullish"
    unknown = cli("rules", "check", "rsi_14 < 30")
    assert (unknown.code, "no field is named 'rsi_14'; did you mean 'rsi'?" in unknown.err) == (2, True)
