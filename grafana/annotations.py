"""Events drawn over every panel: runs, workers that ended early, deploys."""

from textwrap import dedent

from grafana.queries import POSTGRES, PROMETHEUS, Json

_RUNS = """
    SELECT coalesce(started_at, created_at) AS time,
           completed_at AS timeend,
           'run ' || id || ': ' || coalesce(schedule, job) || ' over ' || left(target, 60) || ', ' || status AS text,
           job || ',' || lower(status) AS tags
    FROM runs
    WHERE $__timeFilter(created_at)
    ORDER BY id DESC
    LIMIT 200
"""
_KILLS = 'sum by (cause) (increase(streamworkers_worker_ends_total{cause!="stopped"}[2m])) > 0'
# A version that did not exist five minutes ago. The value is 1 for each version, so it draws a span.
_DEPLOYS = (
    "count by (version) (streamworkers_build_info) > 0"
    " unless on (version) count by (version) (streamworkers_build_info offset 5m)"
)


def annotations() -> list[Json]:
    """The annotations of every board; each can be switched off at its top."""
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
        {
            "name": "Runs",
            "datasource": POSTGRES,
            "enable": True,
            "iconColor": "blue",
            "target": {
                "refId": "Runs",
                "rawSql": dedent(_RUNS).strip(),
                "rawQuery": True,
                "format": "table",
                "editorMode": "code",
            },
        },
        _promql("Worker kills", "red", _KILLS, "a worker ended: {{cause}}", "cause"),
        _promql("Deploys", "purple", _DEPLOYS, "version {{version}}", "version"),
    ]


def _promql(name: str, colour: str, expression: str, title: str, tag: str) -> Json:
    return {
        "name": name,
        "datasource": PROMETHEUS,
        "enable": True,
        "iconColor": colour,
        "expr": expression,
        "step": "60s",
        "titleFormat": title,
        "tagKeys": tag,
        "target": {"refId": name.replace(" ", ""), "expr": expression, "interval": "60s"},
    }
