"""The boards as Grafana would ask them: every query with its variables and macros filled in, and what came back."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from grafana_macros import expand
from psycopg.rows import dict_row

from streamworkers.database import Connection
from watching.prometheus_server import Prometheus, QueryError

DASHBOARDS = Path(__file__).parent.parent.parent / "grafana" / "dashboards"
_INTERVALS = {"__rate_interval": "10s", "__interval": "5s", "__range": "300s", "__range_s": "300"}


@dataclass(frozen=True)
class Query:
    """A query of a panel, as it is written, and in which language."""

    board: str
    panel: str
    panel_type: str
    kind: str
    text: str


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


def boards() -> dict[str, dict[str, Any]]:
    """Every board by its uid."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))]
    return {board["uid"]: board for board in found}


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels of a board, also those inside of rows."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", ())
        else:
            yield panel


def queries(board: Mapping[str, Any]) -> Iterator[Query]:
    """Every query of every panel of a board."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            kind = "promql" if "expr" in target else "sql"
            yield Query(
                board["uid"], panel["title"], panel["type"], kind, target["expr" if kind == "promql" else "rawSql"]
            )


def ask(
    query: Query, prometheus: Prometheus, connection: Connection, variables: Mapping[str, str], start: float, end: float
) -> Answer:
    """Put a query to the real thing."""
    try:
        if query.kind == "promql":
            step = max(1.0, (end - start) / 200)
            found = prometheus.query_range(fill_in(query.text), start, end, step)
            return Answer(query, series=found)
        begin, stop = (datetime.fromtimestamp(moment, UTC) for moment in (start, end))
        cursor = connection.cursor(row_factory=dict_row)
        statement = expand(query.text, begin, stop, variables)
        return Answer(query, rows=cursor.execute(statement).fetchall())
    except (QueryError, psycopg.Error) as error:
        return Answer(query, error=str(error))


def fill_in(expression: str) -> str:
    """A PromQL expression with every variable meaning everything."""
    for name, value in _INTERVALS.items():
        expression = re.sub(rf"\$\{{?{name}\}}?(?![A-Za-z_])", value, expression)
    return re.sub(r"\$\{?[a-z_]+(:[a-z]+)?\}?", ".*", expression)
