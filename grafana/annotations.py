"""Events drawn over the panels of a board: runs that matter, workers that ended early, deploys."""

from collections.abc import Collection
from textwrap import dedent
from typing import Literal

from grafana.queries import POSTGRES, PROMETHEUS, Json

Shown = Literal["Runs", "Worker kills", "Deploys"]

# The start of each run of several items, and of each that did not go well. Runs of one item, such as the hourly health
# check, would hide the others.
_RUNS = """
    SELECT coalesce(started_at, created_at) AS time,
           'run ' || id || ': ' || coalesce(schedule, job) || ' over ' || left(target, 60) || ', ' || status AS text,
           job || ',' || lower(status) AS tags
    FROM runs
    WHERE $__timeFilter(created_at) AND (item_count > 1 OR status IN ('FAILED', 'COMPLETED_WITH_ERRORS'))
    ORDER BY id DESC
    LIMIT 50
"""
_KILLS = 'sum by (cause) (increase(streamworkers_worker_ends_total{cause!="stopped"}[2m])) >= 0.5'
# A version that did not exist five minutes ago. The value is 1 for each version, so it draws a span.
_DEPLOYS = (
    "count by (version) (streamworkers_build_info) > 0"
    " unless on (version) count by (version) (streamworkers_build_info offset 5m)"
)


def annotations(shown: Collection[Shown] = ()) -> list[Json]:
    """The annotations of every board; each can be switched at its top, and those in `shown` are on."""
    runs = {
        "name": "Runs",
        "datasource": POSTGRES,
        "enable": "Runs" in shown,
        "iconColor": "blue",
        "target": {
            "refId": "Runs",
            "rawSql": dedent(_RUNS).strip(),
            "rawQuery": True,
            "format": "table",
            "editorMode": "code",
        },
    }
    return [
        {
            "builtIn": 1,
            "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            "enable": True,
            "hide": True,
            "iconColor": "rgba(0, 211, 255, 1)",
            "name": "Annotations & Alerts",
            "type": "dashboard",
        },
        runs,
        _promql("Worker kills", "red", _KILLS, "a worker ended: {{cause}}", "cause")
        | {"enable": "Worker kills" in shown},
        _promql("Deploys", "purple", _DEPLOYS, "version {{version}}", "version") | {"enable": "Deploys" in shown},
    ]


def _promql(name: str, colour: str, expression: str, title: str, tag: str) -> Json:
    return {
        "name": name,
        "datasource": PROMETHEUS,
        "enable": False,
        "iconColor": colour,
        "expr": expression,
        "step": "60s",
        "titleFormat": title,
        "tagKeys": tag,
        "target": {"refId": name.replace(" ", ""), "expr": expression, "interval": "60s"},
    }
