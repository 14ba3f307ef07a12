"""Market: the results of the analysis, and how fresh and complete its bars are."""

from grafana.columns import column, run_column, series_colour, state_column, symbol_column
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import DAY_AND_CLOCK, Look, above, below
from grafana.panels import About, Panel, Size, barchart, candlestick, stat, table, timeseries
from grafana.queries import Json, promql, sql, sql_series
from grafana.variables import one_of, rows_of

EVERY_SYMBOL = "*"
_ZONE = "'America/New_York'"
_TABLES = (
    ("1min", "ohlcv_1min", '"timestamp"'),
    ("hour", "ohlcv_hourly", '"timestamp"'),
    ("day", "ohlcv_daily", "date"),
    ("week", "ohlcv_weekly", "date"),
    ("month", "ohlcv_monthly", "date"),
)

# The symbols of the universe. All symbols are found by skipping through the index, not by reading every bar.
_CHOSEN = """
    WITH RECURSIVE every AS (
        (SELECT symbol FROM ohlcv_daily ORDER BY symbol LIMIT 1)
        UNION ALL
        SELECT (SELECT b.symbol FROM ohlcv_daily b WHERE b.symbol > e.symbol ORDER BY b.symbol LIMIT 1)
        FROM every e
        WHERE e.symbol IS NOT NULL
    ), chosen AS (
        SELECT symbol FROM every WHERE symbol IS NOT NULL AND ${universe:sqlstring} = '*'
        UNION
        SELECT m.symbol
        FROM group_memberships m
        JOIN definition_groups g ON g.id = m.group_id
        WHERE g.name = ${universe:sqlstring}
    )"""
_UNTIL = f"($__timeTo()::timestamptz AT TIME ZONE {_ZONE})::date"
# The last two daily bars of each symbol up to the end of the range, for symbols with a bar of the newest day.
_MOVES = (
    _CHOSEN
    + f""", moves AS (
        SELECT c.symbol, b.date, b.close::double precision AS close, b.volume,
               (b.close / nullif(b.previous, 0) - 1)::double precision AS change
        FROM chosen c
        CROSS JOIN LATERAL (
            SELECT date, close, volume, lead(close) OVER (ORDER BY date DESC) AS previous
            FROM (SELECT date, close, volume FROM ohlcv_daily
                  WHERE symbol = c.symbol AND date <= {_UNTIL} ORDER BY date DESC LIMIT 2) two
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
    JOIN ohlcv_daily b ON b.symbol = r.symbol AND b.date = (r.bar_time AT TIME ZONE {_ZONE})::date
"""
_BREADTH = (
    _CHOSEN
    + f"""
    SELECT r.bar_time AS time, {_ABOVE.lstrip()}
    GROUP BY r.bar_time
    ORDER BY 1
"""
)
_BREADTH_NOW = (
    _CHOSEN
    + f"""
    SELECT {_ABOVE.lstrip()}
    GROUP BY r.bar_time
    ORDER BY r.bar_time DESC
    LIMIT 1
"""
)
_OF_PATTERNS = """
    FROM chosen c
    JOIN daily_patterns p ON p.symbol = c.symbol
    WHERE $__timeFilter(p.bar_time) AND p.timeframe = ${timeframe:sqlstring}
      AND p.confidence >= ${confidence:sqlstring}::double precision
"""
_PATTERNS = (
    _CHOSEN
    + """
    SELECT p.symbol, p.pattern_name AS pattern, p.direction, p.confidence, p.bar_time AS "bar",
           p.detected_at AS "detected", p.run_id AS run
"""
    + _OF_PATTERNS
    + """
    ORDER BY p.bar_time DESC, p.confidence DESC
    LIMIT 500
"""
)
_BY_NAME = (
    _CHOSEN
    + """
    SELECT p.pattern_name AS pattern, count(*) FILTER (WHERE p.direction = 'bullish') AS "bullish",
           count(*) FILTER (WHERE p.direction = 'bearish') AS "bearish",
           count(*) FILTER (WHERE p.direction = 'neutral') AS "neutral"
"""
    + _OF_PATTERNS
    + """
    GROUP BY 1
    ORDER BY count(*) DESC
    LIMIT 25
"""
)
_BY_SYMBOL = (
    _CHOSEN
    + """
    SELECT p.symbol, count(*) AS patterns, max(p.confidence) AS "strongest", avg(p.confidence) AS "mean",
           count(*) FILTER (WHERE p.direction = 'bullish') AS "bullish",
           count(*) FILTER (WHERE p.direction = 'bearish') AS "bearish", max(p.bar_time) AS "newest bar"
"""
    + _OF_PATTERNS
    + """
    GROUP BY 1
    ORDER BY patterns DESC, "strongest" DESC
    LIMIT 200
"""
)


def _moment(kind: str, name: str) -> str:
    """A bar's time as stored in results: for a date, midnight in New York."""
    return name if kind == '"timestamp"' else f"({name}::timestamp AT TIME ZONE {_ZONE})"


def _candles() -> str:
    """Bars of any timeframe; the planner reads only the chosen table."""
    parts = [
        f"""
        SELECT {_moment(kind, kind)} AS at, open, high, low, close, volume
        FROM {table_name}
        WHERE ${{timeframe:sqlstring}} = '{name}' AND symbol = ${{symbol:sqlstring}}
          AND {_within(kind)}"""
        for name, table_name, kind in _TABLES
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
    first = f"($__timeFrom()::timestamptz AT TIME ZONE {_ZONE})::date"
    return f"{kind} BETWEEN {first} AND {_UNTIL}"


def _freshness() -> str:
    """The newest bar of each chosen symbol for each timeframe, found through the index."""
    parts = [
        f"""
        SELECT {position} AS position, '{name}' AS timeframe, c.symbol, (
            SELECT {_moment(kind, kind)} FROM {table_name} WHERE symbol = c.symbol ORDER BY {kind} DESC LIMIT 1
        ) AS at
        FROM chosen c"""
        for position, (name, table_name, kind) in enumerate(_TABLES)
    ]
    every = "\n        UNION ALL".join(parts)
    return (
        _CHOSEN
        + f""", newest AS ({every}
    ), last AS (
        SELECT position, timeframe, max(at) AS at, count(*) AS symbols, count(at) AS "with bars"
        FROM newest
        GROUP BY position, timeframe
    )
    SELECT l.timeframe, l.at AS "newest bar", extract(epoch FROM now() - l.at)::double precision AS age,
           count(n.symbol)::double precision / nullif(l.symbols, 0) AS coverage, l.symbols, l."with bars",
           l.symbols - count(n.symbol) AS "without the newest"
    FROM last l
    LEFT JOIN newest n ON n.timeframe = l.timeframe AND n.at = l.at
    GROUP BY l.position, l.timeframe, l.at, l.symbols, l."with bars"
    ORDER BY l.position
"""
    )


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
    SELECT DISTINCT ON (indicator) indicator, value, value_data::text AS outputs, bar_time AS "bar",
           bars_used AS "bars used", calculated_at AS "calculated", run_id AS run
    FROM indicator_results
    WHERE symbol = ${symbol:sqlstring} AND timeframe = ${timeframe:sqlstring}
      AND bar_time <= $__timeTo()::timestamptz
    ORDER BY indicator, bar_time DESC
"""
_ITS_PATTERNS = """
    SELECT pattern_name AS pattern, direction, confidence, bar_time AS "bar", metadata::text AS detail, run_id AS run
    FROM daily_patterns
    WHERE $__timeFilter(bar_time) AND symbol = ${symbol:sqlstring} AND timeframe = ${timeframe:sqlstring}
    ORDER BY bar_time DESC, confidence DESC
    LIMIT 200
"""


def _at_a_glance() -> Section:
    colours = (series_colour("up", "green"), series_colour("down", "red"))
    shares = below(0.3, 0.5)
    return Section(
        1,
        "Market",
        [
            stat(
                About(
                    11,
                    "Symbols up and down",
                    "How many of the universe's symbols with a bar of the newest day rose? If there are few symbols in"
                    " total, see coverage below.",
                ),
                [sql(_DAY)],
                Look(unit="short", columns=colours),
                Size(8, 4),
            ),
            stat(
                About(
                    12,
                    "Daily change",
                    "How far did the median, the best and the worst symbol move? A change beyond ±50 % is often a split"
                    " for which the bars are not adjusted.",
                ),
                [sql(_MEDIAN)],
                Look(unit="percentunit", decimals=2, thresholds=(("red", None), ("green", 0))),
                Size(8, 4),
            ),
            stat(
                About(
                    13,
                    "Breadth of the newest bar",
                    "What share of symbols closed above their averages of 50 and 200 days? Below a third is a weak"
                    " market; no value means that no indicators were computed in this range.",
                ),
                [sql(_BREADTH_NOW)],
                Look(unit="percentunit", decimals=1, thresholds=shares),
                Size(8, 4),
            ),
            timeseries(
                About(
                    14,
                    "Breadth",
                    "Does the whole market rise, or only a few symbols? A falling share in a rising market is a"
                    " warning.",
                ),
                [sql_series(_BREADTH)],
                Look(unit="percentunit", minimum=0, maximum=1),
                Size(24, 8),
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
        column("change", "percentunit", steps=(("red", None), ("green", 0))),
        column("close", "none"),
    )
    return table(about, [sql(text)], Look(unit="short", columns=columns), Size(12, 9))


def _patterns() -> Section:
    detected = "sum by (direction) (max by (pattern, direction) (streamworkers_patterns_detected))"
    colours: tuple[Json, ...] = (
        series_colour("bullish", "green"),
        series_colour("bearish", "red"),
        series_colour("neutral", "text"),
    )
    return Section(
        2,
        "Patterns",
        [
            table(
                About(
                    21,
                    "Patterns by symbol and name",
                    "What was detected, and how strong is it? Confidence is a rule score, not a probability; choose its"
                    " minimum above.",
                ),
                [sql(_PATTERNS)],
                Look(
                    unit="short",
                    columns=(
                        symbol_column(),
                        state_column("direction"),
                        column("confidence", "percentunit", steps=(("text", None), ("green", 0.7)), bar=True),
                        column("bar", DAY_AND_CLOCK, width=100),
                        column("detected", DAY_AND_CLOCK, width=100),
                        run_column(),
                    ),
                    no_value="no pattern of this confidence in this range",
                ),
                Size(14, 11),
            ),
            barchart(
                About(
                    22,
                    "Patterns by name",
                    "Which patterns are frequent? One that is on nearly every symbol says little: raise its threshold,"
                    " or disable it with `streamworkers patterns disable`.",
                ),
                [sql(_BY_NAME)],
                Look(unit="short", columns=colours),
                Size(10, 11),
                x="pattern",
                stacked=True,
            ),
            table(
                About(
                    23,
                    "Patterns by symbol",
                    "On which symbols do several patterns agree? Click on one for its candles.",
                ),
                [sql(_BY_SYMBOL)],
                Look(
                    unit="short",
                    columns=(
                        symbol_column(),
                        column("strongest", "percentunit"),
                        column("mean", "percentunit"),
                        column("newest bar", DAY_AND_CLOCK, width=100),
                    ),
                ),
                Size(14, 8),
            ),
            timeseries(
                About(
                    24,
                    "Detected in 24 hours",
                    "Does the analysis find as many patterns as usual? Zero after the close means that it did not run.",
                ),
                [promql(detected, "{{direction}}")],
                Look(unit="short", minimum=0, columns=colours),
                Size(10, 8),
            ).over("7d"),
        ],
    )


def _symbol() -> Section:
    return Section(
        3,
        "$symbol",
        [
            candlestick(
                About(
                    31,
                    "Candles of $symbol",
                    "How did its price move, with volume and averages of 50 and 200 bars? Averages exist where"
                    " indicators were stored.",
                ),
                [sql(_candles())],
                Look(unit="none", decimals=2),
                Size(14, 12),
            ),
            timeseries(
                About(
                    32,
                    "$indicator of $symbol",
                    "How did the indicator move along with the candles? Where points are missing, no run stored one:"
                    " `streamworkers enqueue indicators --param last_bars=250` fills in history.",
                ),
                [sql_series(_INDICATOR)],
                Look(unit="none"),
                Size(10, 12),
            ),
            table(
                About(
                    33,
                    "Indicators of $symbol",
                    "What is the newest value of each indicator, and of which bar? If the bar is old, the symbol was"
                    " stale.",
                ),
                [sql(_ALL_INDICATORS)],
                Look(
                    unit="none",
                    columns=(
                        column("bar", DAY_AND_CLOCK, width=100),
                        column("calculated", DAY_AND_CLOCK, width=100),
                        run_column(),
                    ),
                ),
                Size(12, 9),
            ),
            table(
                About(
                    34,
                    "Patterns of $symbol",
                    "What was detected, with which figures? The rule of each pattern is in docs/reference/patterns.md.",
                ),
                [sql(_ITS_PATTERNS)],
                Look(
                    unit="none",
                    columns=(
                        state_column("direction"),
                        column("confidence", "percentunit"),
                        column("bar", DAY_AND_CLOCK, width=100),
                        run_column(),
                    ),
                    no_value="no pattern in this range",
                ),
                Size(12, 9),
            ),
        ],
    )


def _data() -> Section:
    age = "time() - max by (timeframe) (streamworkers_last_bar_timestamp_seconds)"
    columns = (
        column("newest bar", DAY_AND_CLOCK, width=100),
        column("age", "s"),
        column("coverage", "percentunit", steps=below(0.95, 0.99), bar=True),
    )
    return Section(
        4,
        "Freshness and coverage",
        [
            table(
                About(
                    41,
                    "By timeframe",
                    "What share of the symbols has the newest bar of each timeframe, and how old is it? If it is"
                    " incomplete, load the missing bars with `streamworkers load`, then run the analysis again.",
                ),
                [sql(_freshness())],
                Look(unit="short", columns=columns),
                Size(12, 8),
            ),
            timeseries(
                About(
                    42,
                    "Age of the newest bar",
                    "Do bars still arrive? Daily bars older than four days, without a holiday, mean that loading"
                    " stopped.",
                ),
                [promql(age, "{{timeframe}}")],
                Look(unit="s", minimum=0, thresholds=above(4 * 86_400, 7 * 86_400)),
                Size(12, 8),
            ).over("7d"),
        ],
    )


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
        description="What did the analysis find, how did the market move, and how fresh and complete are the bars?",
        sections=[_at_a_glance(), _patterns(), _symbol(), _data()],
        variables=[
            rows_of("universe", universes),
            rows_of("symbol", _CHOSEN + "\n    SELECT symbol FROM chosen ORDER BY symbol"),
            one_of("timeframe", "timeframe", timeframes),
            rows_of("indicator", "SELECT name FROM indicator_definitions ORDER BY name", first="rsi_14"),
            one_of("confidence", "minimum confidence", levels),
        ],
        since="now-180d",
        refresh="5m",
    )
