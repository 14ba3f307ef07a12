"""What a panel asks: PromQL of Prometheus, SQL of PostgreSQL. The datasources are variables of the board."""

from dataclasses import dataclass
from textwrap import dedent
from typing import Any

Json = dict[str, Any]

PROMETHEUS: Json = {"type": "prometheus", "uid": "${prometheus}"}
# The old name of the plugin is an alias of the new one, so both old and new Grafana know it.
POSTGRES: Json = {"type": "postgres", "uid": "${postgres}"}


@dataclass(frozen=True, slots=True)
class Query:
    """One question, without the letter that its panel gives it."""

    datasource: Json
    model: Json

    def target(self, letter: str) -> Json:
        """The question as an element of a panel's `targets`."""
        return {"datasource": self.datasource, **self.model, "refId": letter}


def promql(expression: str, legend: str = "") -> Query:
    """A question over the range of time; `legend` is a template such as `{{queue}}`."""
    return _promql(expression, legend, instant=False, form="time_series")


def promql_now(expression: str, legend: str = "") -> Query:
    """A question about the end of the range only: for stats and gauges."""
    return _promql(expression, legend, instant=True, form="time_series")


def promql_table(expression: str) -> Query:
    """A question about the end of the range whose labels become columns."""
    return _promql(expression, "", instant=True, form="table")


def sql(text: str) -> Query:
    """A SELECT whose columns are shown as they are."""
    return _sql(text, "table")


def sql_series(text: str) -> Query:
    """A SELECT over time: a column `time` in ascending order, numbers, and perhaps a column `metric` naming series."""
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
