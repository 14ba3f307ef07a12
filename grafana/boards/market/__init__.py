"""Market: the results of the analysis, and how fresh and complete its bars are."""

from grafana.boards.market import freshness, moves, one_symbol, patterns, providers
from grafana.boards.market.universe import CHOSEN
from grafana.dashboard import Board
from grafana.variables import one_of, rows_of


def board() -> Board:
    """The board, by universe, and for one symbol, timeframe and indicator."""
    universes = """
        SELECT 'every symbol' AS __text, '*' AS __value
        UNION ALL
        (SELECT DISTINCT name, name FROM definition_groups ORDER BY 1)
    """
    timeframes = [(name, name) for name in ("day", "1min", "hour", "week", "month")]
    levels = [("any", "0"), ("0.5", "0.5"), ("0.7", "0.7"), ("0.9", "0.9")]
    return Board(
        uid="streamworkers-market",
        title="Market",
        description="How did the market move, what was found in it, and are the bars fresh and complete?",
        sections=[
            moves.section(),
            one_symbol.section(),
            freshness.section(),
            providers.section(),
            patterns.section(),
        ],
        variables=[
            rows_of("universe", universes),
            rows_of("symbol", CHOSEN + "\n    SELECT symbol FROM chosen ORDER BY symbol"),
            one_of("timeframe", "timeframe", timeframes),
            rows_of("indicator", "SELECT name FROM indicator_definitions ORDER BY name", first="rsi_14"),
            one_of("confidence", "minimum confidence", levels),
        ],
        since="now-180d",
        refresh="5m",
    )
