"""One symbol: its candles, indicators and patterns."""

from grafana.boards.market.universe import TABLES_OF_BARS, UNTIL, ZONE, moment_of
from grafana.columns import column, run_column, state_column
from grafana.layout import Section
from grafana.looks import DAY, Look
from grafana.panels import About, Size, candlestick, table, timeseries
from grafana.queries import sql, sql_series


def _candles() -> str:
    """Bars of any timeframe; the planner reads only the chosen table."""
    parts = [
        f"""
        SELECT {moment_of(kind, kind)} AS at, open, high, low, close, volume
        FROM {table_name}
        WHERE ${{timeframe:sqlstring}} = '{name}' AND symbol = ${{symbol:sqlstring}}
          AND {_within(kind)}"""
        for name, table_name, kind in TABLES_OF_BARS
    ]
    every = "\n        UNION ALL".join(parts)
    return f"""
    SELECT b.at AS time, b.open::double precision AS open, b.high::double precision AS high,
           b.low::double precision AS low, b.close::double precision AS close, b.volume::double precision AS volume,
           fast.value AS "SMA 50", slow.value AS "SMA 200"
    FROM ({every}
    ) b
    LEFT JOIN indicator_results fast
        ON fast.symbol = ${{symbol:sqlstring}} AND fast.timeframe = ${{timeframe:sqlstring}}
       AND fast.indicator = 'sma_50' AND fast.bar_time = b.at
    LEFT JOIN indicator_results slow
        ON slow.symbol = ${{symbol:sqlstring}} AND slow.timeframe = ${{timeframe:sqlstring}}
       AND slow.indicator = 'sma_200' AND slow.bar_time = b.at
    ORDER BY 1
"""


def _within(kind: str) -> str:
    if kind == '"timestamp"':
        return f"$__timeFilter({kind})"
    first = f"($__timeFrom()::timestamptz AT TIME ZONE {ZONE})::date"
    return f"{kind} BETWEEN {first} AND {UNTIL}"


_INDICATOR = """
    SELECT r.bar_time AS time, part.name AS metric, part.value::double precision AS value
    FROM indicator_results r
    CROSS JOIN LATERAL jsonb_each_text(coalesce(r.value_data, jsonb_build_object(r.indicator, r.value)))
        AS part (name, value)
    WHERE $__timeFilter(r.bar_time) AND r.symbol = ${symbol:sqlstring} AND r.timeframe = ${timeframe:sqlstring}
      AND r.indicator = ${indicator:sqlstring}
    ORDER BY 1
"""
_ALL_INDICATORS = """
    SELECT DISTINCT ON (indicator) indicator,
           coalesce(trim_scale(round(value::numeric, 4))::text, value_data::text) AS value, bar_time AS "bar",
           run_id AS run
    FROM indicator_results
    WHERE symbol = ${symbol:sqlstring} AND timeframe = ${timeframe:sqlstring}
      AND bar_time <= $__timeTo()::timestamptz
    ORDER BY indicator, bar_time DESC
"""
_ITS_PATTERNS = """
    SELECT pattern_name AS pattern, direction, confidence, bar_time AS "bar", run_id AS run
    FROM daily_patterns
    WHERE $__timeFilter(bar_time) AND symbol = ${symbol:sqlstring} AND timeframe = ${timeframe:sqlstring}
    ORDER BY bar_time DESC, confidence DESC
    LIMIT 200
"""


def section() -> Section:
    """The section of the chosen symbol."""
    indicators = (
        column("indicator", width=175),
        column("bar", DAY, width=100),
        run_column(),
    )
    patterns = (
        column("pattern"),
        state_column("direction", 80),
        column("confidence", "percentunit", width=90),
        column("bar", DAY, width=100),
        run_column(),
    )
    return Section(
        3,
        "One symbol: $symbol",
        [
            candlestick(
                About(
                    31,
                    "Candles of $symbol",
                    "How did its price move, with volume and averages of 50 and 200 bars? Averages exist where"
                    " indicators were stored.",
                ),
                [sql(_candles())],
                Look(unit="none", decimals=2, no_value="no bars of this symbol and timeframe in this range"),
                Size(14, 12),
            ),
            table(
                About(
                    33,
                    "Indicators of $symbol",
                    "What is the newest value of each indicator, and of which bar? If the bar is old, the symbol was"
                    " stale.",
                ),
                [sql(_ALL_INDICATORS)],
                Look(unit="none", columns=indicators, no_value="no indicators of this symbol"),
                Size(10, 12),
            ),
            timeseries(
                About(
                    32,
                    "$indicator of $symbol",
                    "How did the indicator move along with the candles? Where points are missing, no run stored one:"
                    " `streamworkers enqueue indicators --param last_bars=250` fills in history.",
                ),
                [sql_series(_INDICATOR)],
                Look(
                    unit="none",
                    no_value="no value in this range: streamworkers enqueue indicators --param last_bars=250",
                ),
                Size(14, 8),
            ),
            table(
                About(
                    34,
                    "Patterns of $symbol",
                    "What was detected? The rule of each pattern is in docs/reference/patterns.md.",
                ),
                [sql(_ITS_PATTERNS)],
                Look(unit="none", columns=patterns, no_value="no pattern in this range"),
                Size(10, 8),
            ),
        ],
    )
