"""Queries of panels: PromQL for Prometheus, SQL for PostgreSQL. The datasources are variables of the board."""

from dataclasses import dataclass, replace
from textwrap import dedent
from typing import Any

Json = dict[str, Any]

PROMETHEUS: Json = {"type": "prometheus", "uid": "${prometheus}"}
# The plugin's old name, which newer releases of Grafana still accept.
POSTGRES: Json = {"type": "postgres", "uid": "${postgres}"}


@dataclass(frozen=True, slots=True)
class Query:
    """One query, without the letter that its panel gives it."""

    datasource: Json
    model: Json

    @property
    def is_over_time(self) -> bool:
        """True for a query of Prometheus over the time range."""
        return bool(self.model.get("range"))

    @property
    def legend(self) -> str:
        """The template of its series' names; empty for SQL."""
        return str(self.model.get("legendFormat", ""))

    @property
    def has_many_series(self) -> bool:
        """True if it may give several series: its legend, or its column `metric`, names them."""
        return "{{" in self.legend or " AS metric" in self.model.get("rawSql", "")

    def without_zeros(self) -> "Query":
        """This query of Prometheus without the series that are zero all the time.

        They fill a legend and say nothing; with them hidden only, a chart of nothing else is an axis without a word.
        """
        every = self.model["expr"]
        ever = f"max_over_time(({every})[$__range:$__interval] @ end()) > 0"
        return replace(self, model={**self.model, "expr": f"({every}) and ({ever})"})

    def target(self, letter: str) -> Json:
        """The query as an element of a panel's `targets`."""
        return {"datasource": self.datasource, **self.model, "refId": letter}


def promql(expression: str, legend: str = "") -> Query:
    """A query over the time range; `legend` is a template such as `{{queue}}`."""
    return _promql(expression, legend, instant=False, form="time_series")


def promql_now(expression: str, legend: str = "") -> Query:
    """A query at the end of the time range, for stats and gauges."""
    return _promql(expression, legend, instant=True, form="time_series")


def promql_table(expression: str) -> Query:
    """A query at the end of the time range whose labels become columns."""
    return _promql(expression, "", instant=True, form="table")


def sql(text: str) -> Query:
    """A SELECT whose columns are shown unchanged."""
    return _sql(text, "table")


def sql_series(text: str) -> Query:
    """A SELECT over time: an ascending column `time`, numbers, and optionally a column `metric` with series names."""
    return _sql(text, "time_series")


def _promql(expression: str, legend: str, *, instant: bool, form: str) -> Query:
    model: Json = {
        "expr": " ".join(expression.split()),
        "legendFormat": legend or "__auto",
        "instant": instant,
        "range": not instant,
        "format": form,
        "editorMode": "code",
    }
    return Query(PROMETHEUS, model)


def _sql(text: str, form: str) -> Query:
    model: Json = {"rawSql": dedent(text).strip(), "rawQuery": True, "format": form, "editorMode": "code"}
    return Query(POSTGRES, model)
