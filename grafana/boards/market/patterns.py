"""Which patterns were found, on which symbols?"""

from grafana.boards.market.universe import CHOSEN, DIRECTIONS, OF_PATTERNS
from grafana.columns import column, run_column, state_column, symbol_column
from grafana.layout import Section
from grafana.looks import DAY, Look
from grafana.panels import About, Size, barchart, table, timeseries
from grafana.queries import promql, sql

_PATTERNS = (
    CHOSEN
    + """
    SELECT p.symbol, p.pattern_name AS pattern, p.direction, p.confidence, p.bar_time AS "bar", p.run_id AS run
"""
    + OF_PATTERNS
    + """
    ORDER BY p.bar_time DESC, p.confidence DESC
    LIMIT 500
"""
)
_BY_NAME = (
    CHOSEN
    + """
    SELECT p.pattern_name AS pattern, count(*) FILTER (WHERE p.direction = 'bullish') AS "bullish",
           count(*) FILTER (WHERE p.direction = 'bearish') AS "bearish",
           count(*) FILTER (WHERE p.direction = 'neutral') AS "neutral"
"""
    + OF_PATTERNS
    + """
    GROUP BY 1
    ORDER BY count(*) DESC
    LIMIT 25
"""
)
_BY_SYMBOL = (
    CHOSEN
    + """
    SELECT p.symbol, count(*) AS patterns, max(p.confidence) AS "strongest", avg(p.confidence) AS "mean",
           count(*) FILTER (WHERE p.direction = 'bullish') AS "bullish",
           count(*) FILTER (WHERE p.direction = 'bearish') AS "bearish", max(p.bar_time) AS "newest bar"
"""
    + OF_PATTERNS
    + """
    GROUP BY 1
    ORDER BY patterns DESC, "strongest" DESC
    LIMIT 200
"""
)


def section() -> Section:
    """The collapsed section of patterns."""
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
                Look(unit="short", decimals=0, columns=DIRECTIONS, no_value="no pattern in this range"),
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
