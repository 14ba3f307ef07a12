"""Answers have the form that Grafana's datasources give them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from preview.answers import all_panels, page_input
from preview.scene import Scene
from streamworkers.database import Connection
from watching.prometheus_server import Prometheus

NOW = datetime(2026, 1, 14, 23, 30, tzinfo=UTC)
# No query of these tests asks it.
NOBODY = Prometheus("http://127.0.0.1:9")


def _board(*targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    panel = {
        "id": 4,
        "type": "table",
        "title": "Some",
        "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8},
        "targets": targets,
    }
    return {
        "uid": "streamworkers-some",
        "title": "Some",
        "timezone": "America/New_York",
        "time": {"from": "now/d", "to": "now"},
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": [panel],
        **more,
    }


def _sql(text: str, form: str = "table") -> dict[str, Any]:
    return {"refId": "A", "rawSql": text, "format": form}


def _scene(connection: Connection, **chosen: str) -> Scene:
    return Scene(
        name="some", connection=connection, prometheus=NOBODY, now=NOW, scrape=timedelta(seconds=15), chosen=chosen
    )


def _answer(connection: Connection, target: dict[str, Any]) -> dict[str, Any]:
    (answer,) = page_input(_board(target), _scene(connection))["panels"]["4"]["answers"]
    found: dict[str, Any] = answer
    return found


def test_columns_keep_their_types_and_times_are_milliseconds(connection: Connection) -> None:
    answer = _answer(
        connection,
        _sql(
            "SELECT 1::bigint AS a, 1.5::numeric AS b, true AS c, 'x'::text AS d, '{}'::jsonb AS e,"
            " '2026-01-14 00:00+00'::timestamptz AS f, '2026-01-14'::date AS g, NULL::double precision AS h"
        ),
    )
    assert [column["type"] for column in answer["columns"]] == [
        *("number", "number", "boolean", "string", "string", "time", "time", "number")
    ]
    midnight = datetime(2026, 1, 14, tzinfo=UTC).timestamp() * 1000
    assert answer["rows"] == [[1, 1.5, True, "x", "{}", midnight, midnight, None]]
    assert isinstance(answer["rows"][0][1], float)


@pytest.mark.parametrize("value", ["1768348800", "1768348800000"])
def test_a_number_named_time_is_a_time_in_seconds_or_milliseconds(connection: Connection, value: str) -> None:
    answer = _answer(connection, _sql(f"SELECT {value}::double precision AS time, 4 AS value", "time_series"))
    assert answer["columns"][0] == {"name": "time", "type": "time"}
    assert answer["rows"] == [[1768348800000, 4]]


def test_an_error_of_a_query_is_its_answer(connection: Connection) -> None:
    assert "no_such_column" in _answer(connection, _sql("SELECT no_such_column"))["error"]
    assert "ValueError" in _answer(connection, _sql("SELECT $queue"))["error"]


def test_a_panel_has_its_own_range_and_says_so(connection: Connection) -> None:
    board = _board(_sql("SELECT $__timeFrom()::timestamptz AS begin"))
    board["panels"][0]["timeFrom"] = "14d"
    found = page_input(board, _scene(connection))
    panel = found["panels"]["4"]
    assert panel["timeInfo"] == "Last 14d"
    assert panel["answers"][0]["rows"] == [[(NOW - timedelta(days=14)).timestamp() * 1000]]
    assert found["span"]["from"] == datetime(2026, 1, 14, 5, tzinfo=UTC).timestamp() * 1000
    board["panels"][0]["hideTimeOverride"] = True
    assert page_input(board, _scene(connection))["panels"]["4"]["timeInfo"] is None


def test_the_panels_of_a_collapsed_row_are_asked_too() -> None:
    inside = {"id": 2, "type": "stat"}
    row = {"id": 1, "type": "row", "panels": [inside]}
    assert list(all_panels({"panels": [row, {"id": 3, "type": "text"}]})) == [inside, {"id": 3, "type": "text"}]


def test_variables_have_the_value_that_is_set_the_scenes_or_the_first(connection: Connection) -> None:
    options = [{"text": "day", "value": "day"}, {"text": "hour", "value": "hour"}]
    given = [
        {"type": "datasource", "name": "postgres", "label": "PostgreSQL"},
        {"type": "custom", "name": "timeframe", "options": options, "current": options[0]},
        {
            "type": "query",
            "name": "run",
            "definition": "SELECT 'run 7' AS __text, 7 AS __value UNION SELECT 'run 8', 8",
        },
        {
            "type": "query",
            "name": "job",
            "definition": "SELECT unnest(ARRAY['a', 'b'])",
            "multi": True,
            "current": {"text": ["All"], "value": ["$__all"]},
            "allValue": ".*",
        },
        {"type": "query", "name": "nothing", "definition": "SELECT 'x' WHERE false"},
    ]
    board = _board(_sql("SELECT ${job:sqlstring}"), templating={"list": given})
    found = page_input(board, _scene(connection, run="8"))
    assert {each["name"]: (each["text"], each["value"]) for each in found["variables"]} == {
        "postgres": ("postgres", "postgres"),
        "timeframe": ("day", "day"),
        "run": ("run 8", "8"),
        "job": ("All", ["a", "b"]),
        "nothing": ("None", ""),
    }
    (answer,) = found["panels"]["4"]["answers"]
    assert answer["rows"] == [["a", "b"]]


def test_an_annotation_that_cannot_be_asked_is_an_error_that_names_it(connection: Connection) -> None:
    one = {"name": "Runs", "iconColor": "blue", "enable": True, "target": _sql("SELECT broken")}
    board = _board(annotations={"list": [{"builtIn": 1}, one]})
    with pytest.raises(ValueError, match=r"annotation 'Runs': UndefinedColumn"):
        page_input(board, _scene(connection))
    off = _board(annotations={"list": [one | {"enable": False}]})
    assert page_input(off, _scene(connection))["annotations"][0]["events"] == []


def test_an_annotation_is_a_moment_or_a_region(connection: Connection) -> None:
    rows = "SELECT '2026-01-14 12:00+00'::timestamptz AS time, NULL::timestamptz AS timeend, 'a run' AS text"
    board = _board(annotations={"list": [{"name": "Runs", "iconColor": "blue", "enable": True, "target": _sql(rows)}]})
    (annotation,) = page_input(board, _scene(connection))["annotations"]
    at = datetime(2026, 1, 14, 12, tzinfo=UTC).timestamp() * 1000
    assert annotation["events"] == [{"time": at, "timeEnd": None, "text": "a run"}]
