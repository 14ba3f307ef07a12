"""Are the bars fresh and complete?"""

from grafana.boards.market.universe import CHOSEN, TABLES_OF_BARS, moment_of
from grafana.columns import column
from grafana.layout import Section
from grafana.looks import DAY_AND_CLOCK, Look, below, limit
from grafana.panels import About, Size, table, timeseries
from grafana.queries import promql, sql


def _freshness() -> str:
    """The newest bar of each chosen symbol for each timeframe, found through the index."""
    parts = [
        f"""
        SELECT {position} AS position, '{name}' AS timeframe, c.symbol, (
            SELECT {moment_of(kind, kind)} FROM {table_name} WHERE symbol = c.symbol ORDER BY {kind} DESC LIMIT 1
        ) AS at
        FROM chosen c"""
        for position, (name, table_name, kind) in enumerate(TABLES_OF_BARS)
    ]
    every = "\n        UNION ALL".join(parts)
    return (
        CHOSEN
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


def section() -> Section:
    """The section of stored bars."""
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
