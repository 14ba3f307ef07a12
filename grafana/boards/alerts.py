"""Alerts: what has fired, what could not be decided, how late decisions are, and where each alert stands."""

from grafana.columns import column, series_colour, stat_field, symbol_column
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import DAY_AND_CLOCK, PLAIN, Look, any_needs_a_look
from grafana.panels import About, Size, barchart, stat, table, timeseries
from grafana.queries import sql, sql_series

_FIRINGS = """
    FROM alert_firings f
    JOIN alerts a ON a.id = f.alert_id
    WHERE f.kind = 'fire' AND $__timeFilter(f.fired_at)
"""
_NUMBERS = """
    SELECT (SELECT count(*) FROM alerts WHERE removed_at IS NULL) AS "alerts",
           (SELECT count(*) FROM alert_symbols WHERE until IS NULL) AS "series watched",
           (SELECT count(*) FROM alerts WHERE removed_at IS NULL AND paused_at IS NOT NULL) AS "paused",
           (SELECT count(DISTINCT alert_id) FROM alert_mutes WHERE since <= now() AND (until IS NULL OR until > now()))
               AS "muted"
"""
_TROUBLE = """
    SELECT count(*) FILTER (WHERE y.is_blind) AS "blind",
           count(*) FILTER (WHERE coalesce(e.last_change, 0) > coalesce(h.change_seen, 0)) AS "undecided",
           (SELECT count(*) FROM alert_corrections WHERE $__timeFilter(created_at)) AS "corrections"
    FROM (
        SELECT timeframe, symbol, bool_or(blind_since IS NOT NULL) AS is_blind
        FROM alert_symbols
        WHERE until IS NULL
        GROUP BY 1, 2
    ) y
    LEFT JOIN series_state e USING (timeframe, symbol)
    LEFT JOIN alert_shards h USING (timeframe, symbol)
"""
_BY_DAY = f"""
    SELECT date_trunc('day', f.fired_at, 'America/New_York') AS time,
           count(*) FILTER (WHERE f.suppressed IS NULL AND f.is_live) AS "live",
           count(*) FILTER (WHERE f.suppressed IS NULL AND NOT f.is_live) AS "late",
           count(*) FILTER (WHERE f.suppressed IS NOT NULL) AS "suppressed"
    {_FIRINGS}
    GROUP BY 1
    ORDER BY 1
"""
_TOP = f"""
    SELECT a.name AS alert, count(*) AS "firings"
    {_FIRINGS}
    GROUP BY a.id, a.name
    ORDER BY 2 DESC, 1
    LIMIT 15
"""
_LATENESS = f"""
    SELECT a.timeframe,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY f.lateness_seconds) AS "p50",
           percentile_cont(0.95) WITHIN GROUP (ORDER BY f.lateness_seconds) AS "p95",
           max(f.lateness_seconds) AS "longest", count(*) AS "firings"
    {_FIRINGS} AND f.lateness_seconds IS NOT NULL
    GROUP BY 1
    ORDER BY 1
"""
_UNKNOWN = """
    SELECT symbol, timeframe, unknown AS "unknown", evaluations AS "evaluations",
           unknown::double precision / nullif(evaluations, 0) AS "share"
    FROM alert_shards
    WHERE evaluations > 0
    ORDER BY unknown DESC, symbol
    LIMIT 20
"""
_BLIND = """
    SELECT y.blind_since AS "since", a.name AS alert, a.user_id AS "user", y.symbol, y.timeframe,
           e.complete_through AS "newest bar"
    FROM alert_symbols y
    JOIN alerts a ON a.id = y.alert_id
    LEFT JOIN series_state e ON e.timeframe = y.timeframe AND e.symbol = y.symbol
    WHERE y.until IS NULL AND y.blind_since IS NOT NULL AND a.paused_at IS NULL
    ORDER BY y.blind_since, a.name, y.symbol
    LIMIT 200
"""
_NEWEST = f"""
    SELECT f.fired_at AS "fired", a.name AS alert, f.symbol, a.timeframe, f.closed_at AS "bar closed", f.price,
           CASE WHEN f.suppressed IS NOT NULL THEN 'suppressed: ' || f.suppressed
                WHEN f.is_live THEN 'live' ELSE 'late' END AS "how"
    {_FIRINGS}
    ORDER BY f.fired_at DESC, f.id DESC
    LIMIT 50
"""
_STANDING = """
    SELECT a.name AS alert, a.user_id AS "user", a.timeframe, count(y.symbol) AS "symbols",
           count(*) FILTER (WHERE s.status = 'pending' AND y.ended_since IS NULL) AS "pending",
           count(*) FILTER (WHERE s.status = 'fired' AND y.ended_since IS NULL) AS "fired",
           count(*) FILTER (WHERE s.status = 'done' AND y.ended_since IS NULL) AS "done",
           count(*) FILTER (WHERE y.ended_since IS NOT NULL) AS "ended",
           coalesce(sum(s.fire_count), 0) AS "firings", max(s.fired_at) AS "last fired",
           CASE WHEN a.paused_at IS NOT NULL THEN 'paused by ' || a.paused_by
                WHEN a.expires_at < now() THEN 'expired'
                WHEN EXISTS (SELECT FROM alert_mutes m WHERE m.alert_id = a.id AND m.since <= now()
                             AND (m.until IS NULL OR m.until > now())) THEN 'muted' END AS "silent"
    FROM alerts a
    JOIN alert_versions v ON v.alert_id = a.id AND v.version = a.version
    LEFT JOIN alert_symbols y ON y.alert_id = a.id AND y.until IS NULL
    LEFT JOIN alert_state s
        ON s.alert_id = a.id AND s.symbol = y.symbol AND s.since = y.since AND s.epoch = v.epoch
    WHERE a.removed_at IS NULL
    GROUP BY a.id
    ORDER BY max(s.fired_at) DESC NULLS LAST, a.name
    LIMIT 200
"""


def _now() -> Section:
    return Section(
        1,
        "Does everything watch?",
        [
            stat(
                About(11, "Alerts", "How many alerts are there, and how many of them are paused or muted now?"),
                [sql(_NUMBERS)],
                Look(unit="short", thresholds=PLAIN),
                Size(12, 4),
            ),
            stat(
                About(
                    12,
                    "Trouble",
                    "Is anything blind? Series whose bars are missing: load them, or remove the alert. Undecided series"
                    " that stay: does a worker serve the queue `alerts`? Corrections are bars that changed after they"
                    " were decided.",
                ),
                [sql(_TROUBLE)],
                Look(
                    unit="short",
                    columns=tuple(
                        stat_field(name, any_needs_a_look()) for name in ("blind", "undecided", "corrections")
                    ),
                ),
                Size(12, 4),
            ),
        ],
    )


def _fired() -> Section:
    return Section(
        2,
        "What has fired?",
        [
            timeseries(
                About(
                    21,
                    "Firings by day",
                    "Is a day out of the ordinary? Late ones are of bars that came late or after a pause of the pool;"
                    " suppressed ones were muted.",
                ),
                [sql_series(_BY_DAY)],
                Look(
                    unit="short",
                    minimum=0,
                    columns=(
                        series_colour("live", "green"),
                        series_colour("late", "orange"),
                        series_colour("suppressed", "gray"),
                    ),
                ),
                Size(14, 9),
                style="bars",
                stacked=True,
            ),
            barchart(
                About(
                    22,
                    "Alerts that fire most",
                    "Which alerts fire so often that nobody reads them? Give them a cooldown, a hysteresis or another"
                    " level.",
                ),
                [sql(_TOP)],
                Look(unit="short", no_value="Nothing has fired"),
                Size(10, 9),
                x="alert",
            ),
            table(
                About(23, "Newest firings", "What has fired last, and was it live, late or suppressed?"),
                [sql(_NEWEST)],
                Look(
                    unit="short",
                    no_value="Nothing has fired",
                    columns=(
                        column("fired", DAY_AND_CLOCK, width=110),
                        column("bar closed", DAY_AND_CLOCK, width=110),
                        symbol_column(),
                        column("timeframe", width=100),
                        column("price", width=90),
                        column("how", width=160),
                    ),
                ),
                Size(24, 9),
            ),
        ],
    )


def _decided() -> Section:
    return Section(
        3,
        "Is everything decided in time, and known?",
        [
            table(
                About(
                    31,
                    "Lateness by timeframe",
                    "How long does it take from the write of a bar to a firing? If it grows, add workers for the queue"
                    " `alerts`.",
                ),
                [sql(_LATENESS)],
                Look(
                    unit="s",
                    no_value="Nothing has fired",
                    columns=(column("timeframe", width=110), column("firings", "short", width=90)),
                ),
                Size(10, 8),
            ),
            table(
                About(
                    32,
                    "Unknown evaluations",
                    "Where can rules not be decided? Too few bars for an indicator, or a volume that is not known."
                    " Unknown never fires and never releases.",
                ),
                [sql(_UNKNOWN)],
                Look(
                    unit="short",
                    no_value="Nothing has been decided",
                    columns=(symbol_column(), column("timeframe", width=110), column("share", "percentunit", bar=True)),
                ),
                Size(14, 8),
            ),
            table(
                About(
                    33,
                    "Blind alerts",
                    "Which alerts wait for bars that should be stored by the calendar? Load them, or edit, pause or"
                    " remove the alert.",
                ),
                [sql(_BLIND)],
                Look(
                    unit="short",
                    no_value="No alert is blind",
                    columns=(
                        column("since", DAY_AND_CLOCK, width=110),
                        column("user", width=90),
                        symbol_column(),
                        column("timeframe", width=100),
                        column("newest bar", DAY_AND_CLOCK, width=110),
                    ),
                ),
                Size(24, 8),
            ),
        ],
    )


def _standing() -> Section:
    return Section(
        4,
        "Where does each alert stand?",
        [
            table(
                About(
                    41,
                    "States",
                    "How many symbols of each alert are pending, fired, done, or ended by a delisting, and why is one"
                    " silent? The others are armed. `streamworkers alerts show NAME` has every symbol.",
                ),
                [sql(_STANDING)],
                Look(
                    unit="short",
                    no_value="No alert yet: streamworkers alerts add 'AAPL > 150'",
                    columns=(
                        column("user", width=90),
                        column("timeframe", width=100),
                        *(
                            column(name, width=80)
                            for name in ("symbols", "pending", "fired", "done", "ended", "firings")
                        ),
                        column("last fired", DAY_AND_CLOCK, width=120),
                    ),
                ),
                Size(24, 12),
            )
        ],
    )


def board() -> Board:
    """The board."""
    return Board(
        uid="streamworkers-alerts",
        title="Alerts",
        description="What has fired, what could not be decided, how late decisions are, and where each alert stands.",
        sections=[_now(), _fired(), _decided(), _standing()],
        since="now-14d",
        refresh="1m",
    )
