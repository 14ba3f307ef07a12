"""The variables at the top of a board."""

from collections.abc import Sequence
from textwrap import dedent

from grafana.queries import POSTGRES, PROMETHEUS, Json

ALL = "$__all"


def datasource(name: str, label: str) -> Json:
    """The datasource of one kind; `name` is both the variable and the kind."""
    return {
        "type": "datasource",
        "name": name,
        "label": label,
        "query": name,
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "current": {},
        "skipUrlSync": False,
    }


def labels_of(name: str, metric: str, label: str) -> Json:
    """Several values of a label of a metric, or all."""
    query = f"label_values({metric}, {label})"
    spoken = {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
    # "All" also matches series without the label, so that a fresh system shows zeros, not errors.
    return {**_query(name, query), "datasource": PROMETHEUS, "query": spoken, "allValue": ".*", **_several()}


def rows_of(name: str, text: str, *, several: bool = False, first: str | None = None) -> Json:
    """A choice of one row of a SELECT, by default `first`, or of several. Columns `__text` and `__value` may differ."""
    query = dedent(text).strip()
    chosen = {"current": {"text": first, "value": first}} if first is not None else {}
    return {**_query(name, query), "datasource": POSTGRES, "query": query, **(_several() if several else chosen)}


def one_of(name: str, label: str, options: Sequence[tuple[str, str]]) -> Json:
    """One of a few fixed values, given as (text, value); the first is chosen."""
    choices = [{"text": text, "value": value, "selected": index == 0} for index, (text, value) in enumerate(options)]
    return {
        "type": "custom",
        "name": name,
        "label": label,
        "query": ", ".join(f"{text} : {value}" for text, value in options),
        "options": choices,
        "current": {"text": options[0][0], "value": options[0][1]},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "skipUrlSync": False,
    }


def _query(name: str, definition: str) -> Json:
    return {
        "type": "query",
        "name": name,
        "label": name.replace("_", " "),
        "definition": definition,
        "refresh": 2,
        "regex": "",
        "sort": 0,
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "current": {},
        "skipUrlSync": False,
    }


def _several() -> Json:
    return {"includeAll": True, "multi": True, "current": {"text": ["All"], "value": [ALL]}}
