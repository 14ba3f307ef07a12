"""How did the market move: symbols up and down, breadth, and patterns by day."""

from grafana.boards.market.universe import CHOSEN, DIRECTIONS, OF_PATTERNS, UNTIL, ZONE
from grafana.columns import column, stat_field, symbol_column
from grafana.layout import Section
from grafana.looks import GREY, PLAIN, Look, below, starts_with
from grafana.panels import About, Panel, Size, stat, table, timeseries, verdict
from grafana.queries import sql, sql_series

# The last two daily bars of each symbol up to the end of the range, for symbols with a bar of the newest day.
_MOVES = (
    CHOSEN
    + f""", moves AS (
        SELECT c.symbol, b.date, b.close::double precision AS close, b.volume,
               (b.close / nullif(b.previous, 0) - 1)::double precision AS change
        FROM chosen c
        CROSS JOIN LATERAL (
            SELECT date, close, volume, lead(close) OVER (ORDER BY date DESC) AS previous
            FROM (SELECT date, close, volume FROM ohlcv_daily
                  WHERE symbol = c.symbol AND date <= {UNTIL} ORDER BY date DESC LIMIT 2) two
            ORDER BY date DESC
            LIMIT 1
        ) b
    ), newest AS (
        SELECT * FROM moves WHERE date = (SELECT max(date) FROM moves) AND change IS NOT NULL
    )
"""
)
_DAY = (
    _MOVES
    + """
    SELECT count(*) FILTER (WHERE change > 0) AS "up", count(*) FILTER (WHERE change < 0) AS "down",
           count(*) FILTER (WHERE change = 0) AS "unchanged"
    FROM newest
"""
)
_MEDIAN = (
    _MOVES
    + """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY change) AS "median", max(change) AS "best",
           min(change) AS "worst"
    FROM newest
"""
)
_GAINERS = (
    _MOVES
    + """
    SELECT symbol, change, close, volume, date::text AS "bar" FROM newest ORDER BY change DESC, symbol LIMIT 25
"""
)
_LOSERS = (
    _MOVES
    + """
    SELECT symbol, change, close, volume, date::text AS "bar" FROM newest ORDER BY change, symbol LIMIT 25
"""
)
_ABOVE = f"""
    avg((b.close > r.value)::int) FILTER (WHERE r.indicator = 'sma_50')::double precision AS "above SMA 50",
           avg((b.close > r.value)::int) FILTER (WHERE r.indicator = 'sma_200')::double precision AS "above SMA 200"
    FROM chosen c
    JOIN indicator_results r
        ON r.symbol = c.symbol AND r.timeframe = 'day' AND r.indicator IN ('sma_50', 'sma_200')
       AND $__timeFilter(r.bar_time)
    JOIN ohlcv_daily b ON b.symbol = r.symbol AND b.date = (r.bar_time AT TIME ZONE {ZONE})::date
"""
_BREADTH = (
    CHOSEN
    + f"""
    SELECT r.bar_time AS time, {_ABOVE.lstrip()}
    GROUP BY r.bar_time
    ORDER BY 1
"""
)
_BREADTH_NOW = (
    CHOSEN
    + f"""
    SELECT {_ABOVE.lstrip()}
    GROUP BY r.bar_time
    ORDER BY r.bar_time DESC
    LIMIT 1
"""
)
# How many days have results, and how to fill in more: one point makes no line.
_DEPTH = (
    CHOSEN
    + """, days AS (
        SELECT count(DISTINCT r.bar_time) AS n
        FROM chosen c
        JOIN indicator_results r ON r.symbol = c.symbol AND r.timeframe = 'day' AND r.indicator = 'sma_50'
        WHERE $__timeFilter(r.bar_time)
    )
    SELECT CASE
        WHEN NOT EXISTS (SELECT FROM ohlcv_daily) THEN 'No bars yet: streamworkers load'
        WHEN n = 0 THEN 'No indicators yet: streamworkers enqueue indicators'
        WHEN n = 1 THEN 'One day of indicators: fill in history'
        ELSE n || ' days of indicators' END AS verdict
    FROM days
"""
)
_BY_DAY = (
    CHOSEN
    + """
    SELECT p.bar_time AS time, count(*) FILTER (WHERE p.direction = 'bullish') AS "bullish",
           count(*) FILTER (WHERE p.direction = 'bearish') AS "bearish",
           count(*) FILTER (WHERE p.direction = 'neutral') AS "neutral"
"""
    + OF_PATTERNS
    + """
    GROUP BY 1
    ORDER BY 1
"""
)


def section() -> Section:
    """The section of the newest day."""
    colours = (
        stat_field("up", (("text", None), ("green", 1))),
        stat_field("down", (("text", None), ("red", 1))),
    )
    depth = {"No ": GREY, "One ": "orange", "[0-9]": "green"}
    return Section(
        1,
        "How did the market move?",
        [
            stat(
                About(
                    11,
                    "Symbols up and down",
                    "How many of the universe's symbols with a bar of the newest day rose? If there are few symbols in"
                    " total, see coverage below.",
                ),
                [sql(_DAY)],
                Look(unit="short", thresholds=PLAIN, columns=colours),
                Size(7, 4),
            ),
            stat(
                About(
                    12,
                    "Daily change",
                    "How far did the median, the best and the worst symbol move? A change beyond ±50 % is often a split"
                    " for which the bars are not adjusted.",
                ),
                [sql(_MEDIAN)],
                Look(unit="percentunit", decimals=1, thresholds=(("red", None), ("green", 0))),
                Size(6, 4),
            ),
            stat(
                About(
                    13,
                    "Breadth of the newest bar",
                    "What share of symbols closed above their averages of 50 and 200 days? Below a third is a weak"
                    " market; no value means that no indicators were computed in this range.",
                ),
                [sql(_BREADTH_NOW)],
                Look(unit="percentunit", decimals=0, thresholds=below(0.3, 0.5), no_value="no indicators"),
                Size(5, 4),
            ),
            verdict(
                About(
                    17,
                    "History of indicators",
                    "Is there enough history to see a course? `streamworkers enqueue indicators --universe NAME --param"
                    " last_bars=250` fills in a year; a run of the night adds one day.",
                ),
                [sql(_DEPTH)],
                Look(unit="none", mappings=starts_with(depth)),
                Size(6, 4),
                field="verdict",
            ),
            timeseries(
                About(
                    14,
                    "Breadth",
                    "Does the whole market rise, or only a few symbols? A falling share in a rising market is a"
                    " warning. With one point only, fill in history: `streamworkers enqueue indicators --param"
                    " last_bars=250`.",
                ),
                [sql_series(_BREADTH)],
                Look(
                    unit="percentunit",
                    minimum=0,
                    maximum=1,
                    no_value="no indicators in this range: streamworkers enqueue indicators --param last_bars=250",
                ),
                Size(14, 9),
            ),
            timeseries(
                About(
                    25,
                    "Patterns by day",
                    "Are more patterns bullish or bearish than in the weeks before? Choose the minimum of confidence"
                    " above.",
                ),
                [sql_series(_BY_DAY)],
                Look(unit="short", decimals=0, minimum=0, columns=DIRECTIONS, no_value="no pattern in this range"),
                Size(10, 9),
                style="bars",
                stacked=True,
            ),
            _movers(15, "Top gainers", _GAINERS, "rose"),
            _movers(16, "Top losers", _LOSERS, "fell"),
        ],
    )


def _movers(number: int, title: str, text: str, verb: str) -> Panel:
    about = About(
        number,
        title,
        f"Which symbols {verb} most from the previous day to the newest day? Click on one for its candles.",
    )
    columns = (
        symbol_column(),
        column("change", "percentunit", width=100, steps=(("red", None), ("green", 0))),
        column("close", "none", width=100),
        column("bar", width=110),
    )
    return table(about, [sql(text)], Look(unit="short", columns=columns, no_value="no daily bars"), Size(12, 8))
