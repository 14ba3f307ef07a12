"""The boards as Grafana queries them: every query with variables and macros filled in, and its answer."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from grafana.boards import all_boards
from grafana.layout import flat
from grafana_macros import Range, Value, expand_promql, expand_sql
from streamworkers.database import Connection
from watching.prometheus_server import Prometheus, QueryError

RATE_INTERVAL = "20s"
# What a chart of many series asks for: an expression, where it is not zero all the time.
_WITHOUT_ZEROS = re.compile(r"\((.+)\) and \(max_over_time\(\(\1\)\[.+\] @ end\(\)\) > 0\)")


@dataclass(frozen=True)
class Query:
    """A query of a panel as written, and its language."""

    panel: str
    kind: str
    text: str


@dataclass(frozen=True)
class Panel:
    """A panel and its queries."""

    board: str
    title: str
    type: str
    queries: tuple[Query, ...]


@dataclass(frozen=True)
class Answer:
    """The answer to a query: an error, series (PromQL over time), or rows (SQL)."""

    query: Query
    error: str | None = None
    series: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    rows: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def is_empty(self) -> bool:
        """True if the answer has no series and no rows."""
        return not self.series and not self.rows


def panels() -> Iterator[Panel]:
    """Every panel with a query, of every board."""
    for board in all_boards():
        for panel in flat(board.model()["panels"]):
            targets = panel.get("targets", ())
            found = [
                Query(panel["title"], kind, target[name])
                for target in targets
                for kind, name in (("promql", "expr"), ("sql", "rawSql"))
                if name in target
            ]
            if found:
                yield Panel(board.uid, panel["title"], panel["type"], tuple(found))


def variables_of(connection: Connection) -> dict[str, Value]:
    """A value for every variable: all, or one with data."""

    def column(statement: str) -> list[str]:
        return [str(value) for (value,) in connection.execute(statement)]

    return {
        "universe": "*",
        "symbol": column("SELECT symbol FROM daily_patterns ORDER BY detected_at DESC, confidence DESC LIMIT 1")[0],
        "timeframe": "day",
        "indicator": "sma_50",
        "confidence": "0",
        "deadline": "19:00",
        "queue": ".*",
        "job": column("SELECT DISTINCT job FROM runs"),
        "drain": "600",
        "run": column("SELECT id FROM runs WHERE failed_count > 0 ORDER BY id LIMIT 1")[0],
        "schedule": column("SELECT name FROM schedules"),
        "channel": column("SELECT DISTINCT channel FROM received_messages"),
    }


def ask(
    query: Query, prometheus: Prometheus, connection: Connection, variables: Mapping[str, Value], span: Range
) -> Answer:
    """Send a query to Prometheus or PostgreSQL."""
    try:
        if query.kind == "promql":
            start, end = span.start.timestamp(), span.end.timestamp()
            whole = f"{round(end - start)}s"
            expression = expand_promql(query.text, _alternatives(variables), RATE_INTERVAL, whole)
            step = max(1.0, (end - start) / 200)
            series = prometheus.query_range(expression, start, end, step)
            if not series and (every := _WITHOUT_ZEROS.fullmatch(expression)):
                # A series of zeros is an answer, too, and its panel says so in words.
                series = prometheus.query_range(every[1], start, end, step)
            return Answer(query, series=series)
        rows = connection.cursor(row_factory=dict_row).execute(expand_sql(query.text, variables, span)).fetchall()
        return Answer(query, rows=rows)
    except (QueryError, psycopg.Error) as error:
        return Answer(query, error=str(error))


def _alternatives(variables: Mapping[str, Value]) -> dict[str, Value]:
    """The values for PromQL, where several are one regular expression."""
    return {name: value if isinstance(value, str) else ".*" for name, value in variables.items()}


def moment(seconds: float) -> datetime:
    """A Unix time as an aware moment."""
    return datetime.fromtimestamp(seconds, UTC)
