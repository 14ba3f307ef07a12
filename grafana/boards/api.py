"""The HTTP API: is it answered, how fast, and what is rejected?"""

from grafana.columns import column, series_colour, state_column
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import DAY_AND_CLOCK, ID, Look, above, limit
from grafana.panels import About, Size, barchart, merged, sorted_by, stat, table, timeseries
from grafana.queries import promql, promql_table, sql

_REQUESTS = "streamworkers_api_requests_total"
_SECONDS = "streamworkers_api_request_duration_seconds"
# 501 is the honest answer about what does not exist yet.
_ERRORS = f'{_REQUESTS}{{status=~"5..",status!="501"}}'
_REJECTED = """
    SELECT at AS "at", outcome, actor_user AS "user", actor_kind AS "by", host(address) AS "address", action,
           object_id AS "of", reason
    FROM audit_log
    WHERE outcome <> 'ok' AND $__timeFilter(at)
    ORDER BY id DESC
    LIMIT 50
"""
_CHANGES = """
    SELECT action, count(*) FILTER (WHERE outcome = 'ok') AS "done",
           count(*) FILTER (WHERE outcome <> 'ok') AS "rejected or failed"
    FROM audit_log
    WHERE $__timeFilter(at)
    GROUP BY 1
    ORDER BY count(*) DESC, 1
    LIMIT 15
"""
_TOKENS = """
    SELECT actor_user AS "user", actor_token AS "token", count(*) AS "changes",
           count(*) FILTER (WHERE outcome <> 'ok') AS "rejected", max(at) AS "newest"
    FROM audit_log
    WHERE actor_kind = 'api' AND $__timeFilter(at)
    GROUP BY 1, 2
    ORDER BY 3 DESC, 1, 2
    LIMIT 50
"""


def _rate(metric: str, by: str = "", span: str = "$__rate_interval") -> str:
    return f"sum{by}(rate({metric}[{span}]))"


def _quantile(share: float, by: str = "le", span: str = "$__rate_interval") -> str:
    return f"histogram_quantile({share}, sum by ({by}) (rate({_SECONDS}_bucket[{span}])))"


def _now() -> Section:
    share = f"{_rate(_ERRORS)} / ({_rate(_REQUESTS)} > 0) or vector(0)"
    return Section(
        1,
        "Is it answered, and how fast?",
        [
            stat(
                About(
                    11,
                    "Processes",
                    "How many API processes does Prometheus reach? With none, programs get no answer:"
                    " `streamworkers api --metrics-port 9104`.",
                ),
                [promql('sum(up{component="api"})', "answer")],
                Look(unit="short", decimals=0, minimum=0, no_value="no API runs"),
                Size(5, 4),
            ),
            stat(
                About(
                    12,
                    "Requests",
                    "How busy is it, over all processes? Probes are not counted.",
                ),
                [promql(_rate(_REQUESTS), "requests")],
                Look(unit="reqps", minimum=0),
                Size(5, 4),
            ),
            stat(
                About(
                    13,
                    "Errors",
                    "What share of requests is answered with a status from 500 on? Over 5 % an alert fires. What the"
                    " caller has to correct is not counted.",
                ),
                [promql(share, "errors")],
                Look(unit="percentunit", decimals=1, minimum=0, thresholds=above(0.01, 0.05)),
                Size(5, 4),
            ),
            stat(
                About(14, "Slow requests", "How long do the slowest 5 % of requests take at least?"),
                [promql(_quantile(0.95), "p95")],
                Look(unit="s", minimum=0, thresholds=above(0.25, 1)),
                Size(5, 4),
            ),
            stat(
                About(
                    15,
                    "In progress",
                    "How many requests are in progress? Each process works on a few at once; others wait, at most for a"
                    " second.",
                ),
                [promql("sum(streamworkers_api_requests_in_progress)", "requests")],
                Look(unit="short", decimals=0, minimum=0),
                Size(4, 4),
            ),
            timeseries(
                About(16, "Requests, by route", "Which route is called most? A loop without a pause stands out."),
                [promql(_rate(_REQUESTS, " by (method, route) "), "{{method}} {{route}}")],
                Look(unit="reqps", minimum=0, no_value="No request came"),
                Size(12, 9),
            ),
            timeseries(
                About(
                    17,
                    "Duration",
                    "Do requests become slower? The dashed line is the limit of the alert, which looks at each route.",
                ),
                [promql(_quantile(each), f"p{100 * each:g}") for each in (0.5, 0.95, 0.99)],
                Look(unit="s", minimum=0, scale="log", thresholds=limit(1), no_value="No request came"),
                Size(12, 9),
            ),
        ],
    )


def _routes() -> Section:
    by, span = " by (method, route) ", "$__range"
    failed, all_of_them = _rate(_ERRORS, by, span), f"({_rate(_REQUESTS, by, span)} > 0)"
    queries = [
        f"sum{by}(increase({_REQUESTS}[{span}])) > 0",
        f"{failed} / {all_of_them} or 0 * {all_of_them}",
        *(f"{_quantile(each, 'method, route, le', span)} > 0" for each in (0.5, 0.95, 0.99)),
    ]
    names = {"method": "method", "route": "route", "Value #A": "requests", "Value #B": "errors"}
    names |= {"Value #C": "p50", "Value #D": "p95", "Value #E": "p99"}
    columns = (
        column("method", width=80),
        column("requests", "short", width=95),
        column("errors", "percentunit", width=85, steps=above(0.01, 0.05)),
        column("p50", width=85),
        column("p95", width=85, steps=above(0.25, 1)),
        column("p99", width=85),
    )
    about = About(
        21, "Each route in this time", "Which route fails or is slow? Its requests are in the log as `request`."
    )
    made = table(
        about,
        [promql_table(query) for query in queries],
        Look(unit="s", columns=columns, no_value="no request came"),
        Size(14, 9),
        transformations=merged(names),
    )
    return Section(
        2,
        "Which routes fail or are slow?",
        [
            sorted_by(made, "requests", descending=True),
            timeseries(
                About(
                    22,
                    "Errors, by route and status",
                    "When did it fail? 503 says that PostgreSQL or Redis could not be used, or that too much was in"
                    " progress; 500 is a fault of the program, whose log has it.",
                ),
                [promql(f"60 * {_rate(_ERRORS, ' by (method, route, status) ')}", "{{status}} {{method}} {{route}}")],
                Look(unit="suffix: /min", minimum=0, no_value="Nothing failed"),
                Size(10, 9),
                style="bars",
            ),
        ],
    )


def _limits() -> Section:
    own = '{component="api"}'
    wait = f"{_rate(f'streamworkers_db_pool_wait_seconds_total{own}')}"
    return Section(
        3,
        "What is rejected, and what limits it?",
        [
            timeseries(
                About(
                    31,
                    "Not answered as asked, by code",
                    "Why are requests rejected? `unauthorized` and `too-many-attempts`: somebody has no good token."
                    " `busy` and `unavailable`: it needs more processes or connections. Others are for the caller.",
                ),
                [promql(f"60 * {_rate('streamworkers_api_problems_total', ' by (code) ')}", "{{code}}")],
                Look(unit="suffix: /min", minimum=0, no_value="Nothing was rejected"),
                Size(12, 8),
                style="bars",
                stacked=True,
            ),
            timeseries(
                About(
                    32,
                    "In progress, and the most at once",
                    "Is a process at its limit? Then requests wait, and are answered 503 after a second: start another"
                    " one, or raise STREAMWORKERS_API_CONNECTIONS.",
                ),
                [
                    promql("max by (instance) (streamworkers_api_requests_in_progress)", "{{instance}}"),
                    promql("max(streamworkers_api_most_requests_at_once)", "most at once"),
                ],
                Look(unit="short", decimals=0, minimum=0),
                Size(12, 8),
            ),
            timeseries(
                About(33, "Connections to PostgreSQL", "Is the connection pool exhausted? Then PostgreSQL is slow."),
                [
                    promql(f"sum by (state) (streamworkers_db_pool_connections{own})", "{{state}}"),
                    promql(f"sum(streamworkers_db_pool_requests_waiting{own})", "waiting requests"),
                ],
                Look(unit="short", decimals=0, minimum=0),
                Size(8, 8),
            ),
            timeseries(
                About(
                    34,
                    "Mean wait for a connection",
                    "How long does a request wait for a connection? Not at all is normal.",
                ),
                [promql(f"{wait} / ({_rate(f'streamworkers_db_pool_requests_total{own}')} > 0)", "wait")],
                Look(unit="s", minimum=0, thresholds=above(0.1, 1)),
                Size(8, 8),
            ),
            timeseries(
                About(
                    35,
                    "Followers of runs",
                    "How many requests follow the events of runs? They hold no thread; a process has room for"
                    " STREAMWORKERS_API_STREAMS.",
                ),
                [promql("max by (instance) (streamworkers_api_followers)", "{{instance}}")],
                Look(unit="short", decimals=0, minimum=0, no_value="No run is followed"),
                Size(8, 8),
            ),
        ],
    )


def _changes() -> Section:
    return Section(
        4,
        "Who changes what?",
        [
            barchart(
                About(
                    41, "Changes, by action", "What was done, by commands and the bot too? `streamworkers audit list`."
                ),
                [sql(_CHANGES)],
                Look(
                    unit="short",
                    no_value="Nothing was changed",
                    columns=(series_colour("done", "green"), series_colour("rejected or failed", "orange")),
                ),
                Size(8, 9),
                x="action",
                stacked=True,
            ),
            table(
                About(
                    42,
                    "Tokens that change",
                    "Which program changes most, and which is rejected? `streamworkers tokens list` has the names;"
                    " `tokens revoke` ends one.",
                ),
                [sql(_TOKENS)],
                Look(
                    unit="short",
                    no_value="No token has changed anything",
                    columns=(column("token", width=70), column("newest", DAY_AND_CLOCK, width=110)),
                ),
                Size(8, 9),
            ),
            timeseries(
                About(
                    43,
                    "Oldest change without a seal",
                    "Is the audit log sealed? A transaction that stays open holds sealing up; `streamworkers doctor`"
                    " names it. The dashed line is the limit of the alert.",
                ),
                [promql("max(streamworkers_audit_unsealed_seconds)", "age")],
                Look(unit="s", minimum=0, thresholds=limit(900)),
                Size(8, 9),
            ),
            table(
                About(
                    44,
                    "Rejected and failed",
                    "Who tried what they may not, and what went wrong? Without a user: no good token was presented.",
                ),
                [sql(_REJECTED)],
                Look(
                    unit="short",
                    no_value="Nothing was rejected",
                    columns=(
                        column("at", DAY_AND_CLOCK, width=110),
                        state_column("outcome", 85),
                        column("user", width=90),
                        column("by", width=70),
                        column("address", width=110),
                        column("action", width=140),
                        column("of", ID, width=160),
                    ),
                ),
                Size(24, 8),
            ),
        ],
    )


def board() -> Board:
    """The board, from the API's own metrics and the audit log."""
    return Board(
        uid="streamworkers-api",
        title="API",
        description="Is the HTTP API answered, how fast, what is rejected, and who changes what?",
        sections=[_now(), _routes(), _limits(), _changes()],
        since="now-6h",
    )
