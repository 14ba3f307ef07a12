"""The boards as Grafana would ask them: every query with its variables and macros filled in, and what came back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from grafana.boards import all_boards
from grafana_macros import Range, Value, expand_promql, expand_sql
from streamworkers.database import Connection
from watching.prometheus_server import Prometheus, QueryError

RATE_INTERVAL = "20s"


@dataclass(frozen=True)
class Query:
    """A query of a panel, as it is written, and in which language."""

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
    """What came of a query: an error, or series (PromQL: over time), or rows (SQL)."""

    query: Query
    error: str | None = None
    series: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    rows: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def is_empty(self) -> bool:
        """True when nothing came back."""
        return not self.series and not self.rows


def panels() -> Iterator[Panel]:
    """Every panel of every board that asks something."""
    for board in all_boards():
        for panel in board.model()["panels"]:
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
    """A choice for every variable: everything, or what is there to be seen."""

    def column(statement: str) -> list[str]:
        return [str(value) for (value,) in connection.execute(statement)]

    return {
        "universe": "*",
        "symbol": column("SELECT symbol FROM daily_patterns ORDER BY detected_at DESC, confidence DESC LIMIT 1")[0],
        "timeframe": "day",
        "indicator": "sma_50",
        "confidence": "0",
        "queue": ".*",
        "job": column("SELECT DISTINCT job FROM runs"),
        "drain": "600",
        "run": column("SELECT id FROM runs WHERE failed_count > 0 ORDER BY id LIMIT 1")[0],
        "schedule": column("SELECT name FROM schedules"),
    }


def ask(
    query: Query, prometheus: Prometheus, connection: Connection, variables: Mapping[str, Value], span: Range
) -> Answer:
    """Put a query to the real thing."""
    try:
        if query.kind == "promql":
            start, end = span.start.timestamp(), span.end.timestamp()
            expression = expand_promql(query.text, _alternatives(variables), RATE_INTERVAL)
            step = max(1.0, (end - start) / 200)
            return Answer(query, series=prometheus.query_range(expression, start, end, step))
        rows = connection.cursor(row_factory=dict_row).execute(expand_sql(query.text, variables, span)).fetchall()
        return Answer(query, rows=rows)
    except (QueryError, psycopg.Error) as error:
        return Answer(query, error=str(error))


def _alternatives(variables: Mapping[str, Value]) -> dict[str, Value]:
    """The same choices for PromQL, where all of many is one expression."""
    return {name: value if isinstance(value, str) else ".*" for name, value in variables.items()}


def moment(seconds: float) -> datetime:
    """A Unix time as an aware moment."""
    return datetime.fromtimestamp(seconds, UTC)
