"""Market: the results of the analysis, and how fresh and complete its bars are."""

from grafana.columns import column, run_column, series_colour, stat_field, state_column, symbol_column
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import DAY, DAY_AND_CLOCK, GREY, PLAIN, Look, below, colour_of_line, limit, starts_with
from grafana.panels import About, Panel, Size, barchart, candlestick, stat, table, timeseries, verdict
from grafana.queries import promql, sql, sql_series
from grafana.variables import one_of, rows_of

EVERY_SYMBOL = "*"
_DIRECTIONS = tuple(series_colour(name, colour_of_line(name)) for name in ("bullish", "bearish", "neutral"))
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
    SELECT p.symbol, p.pattern_name AS pattern, p.direction, p.confidence, p.bar_time AS "bar", p.run_id AS run
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
           CASE WHEN l."with bars" > 0 THEN count(n.symbol)::double precision / l.symbols END AS coverage,
           l.symbols, l."with bars",
           l.symbols - count(n.symbol) AS "without the newest"
    FROM last l
    LEFT JOIN newest n ON n.timeframe = l.timeframe AND n.at = l.at
    GROUP BY l.position, l.timeframe, l.at, l.symbols, l."with bars"
    ORDER BY l.position
"""
    )


# How many days have results, and how to fill in more: one point makes no line.
_DEPTH = (
    _CHOSEN
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
    _CHOSEN
    + """
    SELECT p.bar_time AS time, count(*) FILTER (WHERE p.direction = 'bullish') AS "bullish",
           count(*) FILTER (WHERE p.direction = 'bearish') AS "bearish",
           count(*) FILTER (WHERE p.direction = 'neutral') AS "neutral"
"""
    + _OF_PATTERNS
    + """
    GROUP BY 1
    ORDER BY 1
"""
)
_OUTAGES = """
    SELECT provider, CASE WHEN ended_at IS NULL THEN 'away' ELSE 'back' END AS "is", since,
           extract(epoch FROM coalesce(ended_at, $__timeTo()::timestamptz) - since)::double precision AS "for", probes,
           error
    FROM provider_outages
    ORDER BY since DESC
"""
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


def _at_a_glance() -> Section:
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
                Look(unit="short", decimals=0, minimum=0, columns=_DIRECTIONS, no_value="no pattern in this range"),
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


def _symbol() -> Section:
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


def _data() -> Section:
    age = "time() - max by (timeframe) (streamworkers_last_bar_timestamp_seconds)"
    columns = (
        column("newest bar", DAY_AND_CLOCK, width=115),
        column("age", "s", width=100),
        column("coverage", "percentunit", width=110, steps=below(0.95, 0.99), bar=True),
        column("symbols", width=75),
        column("with bars", width=75),
        column("without the newest", width=85),
    )
    return Section(
        4,
        "Are the bars fresh and complete?",
        [
            table(
                About(
                    41,
                    "By timeframe",
                    "What share of the symbols has the newest bar of each timeframe, and how old is it? If it is"
                    " incomplete, load the missing bars with `streamworkers load`, then run the analysis again.",
                ),
                [sql(_freshness())],
                Look(unit="short", columns=columns, no_value="no bars: streamworkers load"),
                Size(14, 7),
            ),
            timeseries(
                About(
                    42,
                    "Age of the newest bar",
                    "Do bars still arrive? Daily bars older than five days, without a holiday, mean that loading"
                    " stopped: the line is the limit of the alert.",
                ),
                [promql(age, "{{timeframe}}")],
                Look(unit="s", minimum=0, thresholds=limit(5 * 86_400), no_value="no bars yet"),
                Size(10, 7),
            ).over("7d"),
        ],
    )


def _providers() -> Section:
    calls = "sum by (provider, answer) (rate(streamworkers_provider_calls_total[$__rate_interval])) * 60"
    counted = "max by (provider) (streamworkers_provider_counted_calls)"
    waits = "sum by (provider) (rate(streamworkers_provider_waits_total[$__rate_interval])) * 60"
    stored = "sum by (timeframe) (rate(streamworkers_provider_bars_total[$__rate_interval])) * 60"
    rejected = "sum by (rule) (rate(streamworkers_provider_bars_rejected_total[$__rate_interval])) * 60"
    fixed = tuple(series_colour(f"massive {name}", colour) for name, colour in (("ok", "green"), ("error", "red")))
    return Section(
        5,
        "Do the providers answer, and does the budget of calls suffice?",
        [
            timeseries(
                About(
                    51,
                    "Calls a minute, by answer",
                    "Does a provider answer? Errors of one symbol fail its item; errors of all are an outage, see"
                    " beside.",
                ),
                [promql(calls, "{{provider}} {{answer}}")],
                Look(unit="short", minimum=0, columns=fixed, no_value="no provider was called"),
                Size(12, 8),
            ).over("24h"),
            timeseries(
                About(
                    52,
                    "Budget: calls that count, and calls that had to wait",
                    "Is the provider's rate limit what holds a load up? While calls wait, more workers do not help: a"
                    " plan with more calls does.",
                ),
                [promql(counted, "{{provider}}: in the last minute"), promql(waits, "{{provider}}: waits a minute")],
                Look(unit="short", decimals=0, minimum=0, no_value="no provider was called"),
                Size(12, 8),
            ).over("24h"),
            table(
                About(
                    53,
                    "Outages",
                    "Is a provider away, since when, and what did it answer? All loads wait, one process probes it.",
                ),
                [sql(_OUTAGES)],
                Look(
                    unit="none",
                    columns=(
                        column("provider", width=100),
                        state_column("is", 70),
                        column("since", DAY_AND_CLOCK, width=115),
                        column("for", "s", width=95),
                        column("probes", width=70),
                    ),
                    no_value="no provider has been away",
                ),
                Size(12, 7),
            ),
            timeseries(
                About(
                    54,
                    "Bars stored and rejected a minute",
                    "Do bars arrive, and are they good? Rejected bars break a rule of docs/guides/loading.md.",
                ),
                [promql(stored, "{{timeframe}}"), promql(rejected, "rejected: {{rule}}")],
                Look(unit="short", minimum=0, no_value="no bars were loaded"),
                Size(12, 7),
            ).over("24h"),
        ],
    )


def _patterns() -> Section:
    found = (
        symbol_column(),
        column("pattern"),
        state_column("direction", 90),
        column("confidence", "percentunit", width=110, steps=(("blue", None), ("green", 0.7)), bar=True),
        column("bar", DAY, width=105),
        run_column(),
    )
    by_symbol = (
        symbol_column(),
        column("patterns", width=80),
        column("strongest", "percentunit", width=90),
        column("mean", "percentunit", width=80),
        column("bullish", width=75),
        column("bearish", width=75),
        column("newest bar", DAY, width=105),
    )
    detected = "sum by (direction) (max by (pattern, direction) (streamworkers_patterns_detected))"
    return Section(
        2,
        "Which patterns were found?",
        [
            table(
                About(
                    21,
                    "Patterns by symbol and name",
                    "What was detected, and how strong is it? Confidence is a rule score, not a probability; choose its"
                    " minimum above.",
                ),
                [sql(_PATTERNS)],
                Look(unit="none", columns=found, no_value="no pattern of this confidence in this range"),
                Size(14, 10),
            ),
            barchart(
                About(
                    22,
                    "Patterns by name",
                    "Which patterns are frequent? One that is on nearly every symbol says little: raise its threshold,"
                    " or disable it with `streamworkers patterns disable`.",
                ),
                [sql(_BY_NAME)],
                Look(unit="short", decimals=0, columns=_DIRECTIONS, no_value="no pattern in this range"),
                Size(10, 10),
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
                Look(unit="none", columns=by_symbol, no_value="no pattern in this range"),
                Size(14, 8),
            ),
            timeseries(
                About(
                    24,
                    "Detected in 24 hours",
                    "Does the analysis find as many patterns as usual? Zero after the close means that it did not run.",
                ),
                [promql(detected, "{{direction}}")],
                Look(unit="short", decimals=0, minimum=0, no_value="no pattern was detected"),
                Size(10, 8),
            ).over("7d"),
        ],
        collapsed=True,
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
        description="How did the market move, what was found in it, and are the bars fresh and complete?",
        sections=[_at_a_glance(), _symbol(), _data(), _providers(), _patterns()],
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
