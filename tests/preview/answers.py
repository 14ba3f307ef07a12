"""Asks every query of a board as Grafana would, and puts the answers into the form that the page reads."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from math import inf
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from grafana_macros import Range, Value, expand_promql, expand_sql
from preview.scene import Scene
from preview.spans import Span, override, rate_interval, span_of, step, written
from preview.variables import Json, values_for, variables_of
from watching.prometheus_server import QueryError

# Type names of PostgreSQL by what Grafana's datasource makes of them; everything else is a text.
_TIMES = {"timestamptz", "timestamp", "date"}
_NUMBERS = {"int2", "int4", "int8", "float4", "float8", "numeric"}
_WIDTH = 1280
_STEP_OF_EVENTS = 60
_LARGEST_SECONDS = 1e10


@dataclass(frozen=True, slots=True)
class Asked:
    """How the queries of one panel are asked."""

    scene: Scene
    span: Span
    interval: timedelta
    values: Mapping[str, Mapping[str, Value]]

    def promql(self, text: str, interval: timedelta | None = None) -> str:
        """An expression with its variables filled in."""
        each = max(interval or self.interval, self.scene.scrape)
        whole = round((self.span.end - self.span.start).total_seconds())
        for name, value in (("$__range_s", str(whole)), ("$__range", f"{whole}s"), ("$__interval", written(each))):
            text = text.replace(name, value)
        return expand_promql(text, self.values["promql"], written(rate_interval(each, self.scene.scrape)))

    def sql(self, text: str) -> str:
        """A statement with its variables and macros filled in."""
        return expand_sql(text, self.values["sql"], Range(self.span.start, self.span.end, written(self.interval)))


def page_input(board: Json, scene: Scene) -> Json:
    """Everything about a board that the page draws."""
    zone = ZoneInfo(board["timezone"])
    span = scene.span(board["uid"]) or span_of(board["time"], scene.now, zone)
    variables = variables_of(board, scene, span)
    values = {kind: values_for(kind, variables) for kind in ("promql", "sql")}
    panels = {}
    for panel in all_panels(board):
        own = override(panel["timeFrom"], scene.now, zone) if "timeFrom" in panel else span
        points = panel.get("maxDataPoints") or _WIDTH * panel["gridPos"]["w"] // 24
        asked = Asked(scene, own, step(own, points, scene.scrape), values)
        panels[str(panel["id"])] = {
            "span": own.milliseconds,
            "interval": asked.interval.total_seconds() * 1000,
            "timeInfo": _time_info(panel),
            "answers": [_answer(target, asked) for target in panel.get("targets", ()) if not target.get("hide")],
        }
    whole = Asked(scene, span, step(span, _WIDTH, scene.scrape), values)
    return {
        "board": {name: board.get(name) for name in ("uid", "title", "timezone", "refresh", "panels")},
        "span": span.milliseconds,
        "variables": variables,
        "panels": panels,
        "annotations": [_annotation(each, whole) for each in board["annotations"]["list"] if not each.get("builtIn")],
    }


def all_panels(board: Json) -> Iterator[Json]:
    """The panels with queries, those of collapsed rows too."""
    for panel in board["panels"]:
        for each in (panel, *panel.get("panels", ())):
            if each["type"] != "row":
                yield each


def as_text(given: Json) -> str:
    """The JSON of an input."""
    return json.dumps(given, default=_as_json)


def _time_info(panel: Json) -> str | None:
    if "timeFrom" not in panel or panel.get("hideTimeOverride"):
        return None
    return {"now/d": "Today so far"}.get(panel["timeFrom"], f"Last {panel['timeFrom']}")


def _answer(target: Json, asked: Asked) -> Json:
    try:
        return _of_prometheus(target, asked) if "expr" in target else _of_postgres(target, asked)
    except (QueryError, psycopg.Error, ValueError, KeyError) as error:
        kind = "promql" if "expr" in target else "sql"
        return {"refId": target["refId"], "kind": kind, "error": f"{type(error).__name__}: {error}"}


def _of_prometheus(target: Json, asked: Asked) -> Json:
    server, end = asked.scene.prometheus, asked.span.end.timestamp()
    least = target.get("interval") and _length(target["interval"])
    interval = max(asked.interval, least) if least else asked.interval
    expression = asked.promql(target["expr"], interval)
    common = {
        "refId": target["refId"],
        "kind": "promql",
        "expression": expression,
        "legend": target.get("legendFormat"),
    }
    if target.get("instant"):
        series = server.query(expression, end)
        return {**common, "instant": True, "format": target.get("format"), "series": series}
    seconds = interval.total_seconds()
    start = asked.span.start.timestamp() // seconds * seconds
    series = server.query_range(expression, start, end // seconds * seconds, seconds)
    return {**common, "format": target.get("format"), "step": seconds * 1000, "series": series}


def _of_postgres(target: Json, asked: Asked) -> Json:
    cursor = asked.scene.connection.execute(asked.sql(target["rawSql"]))
    description = cursor.description or ()
    columns = [{"name": each.name, "type": _kind(each.type_display)} for each in description]
    rows = [[_value(value) for value in row] for row in cursor.fetchall()]
    for place, column in enumerate(columns):
        if column["name"] in ("time", "timeend") and column["type"] == "number":
            column["type"] = "time"
            for row in rows:
                row[place] = _milliseconds(row[place])
    return {"refId": target["refId"], "kind": "sql", "format": target["format"], "columns": columns, "rows": rows}


def _annotation(given: Json, asked: Asked) -> Json:
    target = given["target"]
    found = {"name": given["name"], "color": given["iconColor"], "enabled": given["enable"], "events": []}
    if not given["enable"]:
        return found
    answer = _answer({"refId": "A", "format": "table", **target}, asked)
    if "error" in answer:
        raise ValueError(f"annotation {given['name']!r}: {answer['error']}")
    found["events"] = list(_events_of_rows(answer) if answer["kind"] == "sql" else _events_of_series(answer["series"]))
    return found


def _events_of_rows(answer: Json) -> Iterator[Json]:
    names = [column["name"].lower() for column in answer["columns"]]
    for row in answer["rows"]:
        cells = dict(zip(names, row, strict=True))
        yield {"time": cells["time"], "timeEnd": cells.get("timeend"), "text": cells.get("text") or ""}


def _events_of_series(series: Iterable[Json]) -> Iterator[Json]:
    """A span for each stretch of samples, as Grafana draws them: a step without a sample ends it."""
    for one in series:
        times = [at for at, value in one["values"] if float(value) != 0]
        ends = [at for at, following in pairwise([*times, inf]) if following - at > _STEP_OF_EVENTS]
        begins = [at for before, at in pairwise([-inf, *times]) if at - before > _STEP_OF_EVENTS]
        for begin, end in zip(begins, ends, strict=True):
            yield {"time": begin * 1000, "timeEnd": end * 1000, "text": str(one["metric"])}


def _kind(type_name: str) -> str:
    name = type_name.split("(")[0]
    if name in _TIMES:
        return "time"
    if name in _NUMBERS:
        return "number"
    return "boolean" if name == "bool" else "string"


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, date):
        return round(datetime(value.year, value.month, value.day, tzinfo=ZoneInfo("UTC")).timestamp() * 1000)
    if isinstance(value, Decimal):
        return float(value)
    return value if value is None or isinstance(value, int | float | bool | str) else _as_json(value)


def _as_json(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, list | dict) else str(value)


def _milliseconds(value: float | None) -> float | None:
    """A Unix time as Grafana reads a number: in seconds, unless it is too large for that."""
    return value if value is None or abs(value) >= _LARGEST_SECONDS else value * 1000


def _length(text: str) -> timedelta:
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    return timedelta(**{units[text[-1]]: float(text[:-1])})
