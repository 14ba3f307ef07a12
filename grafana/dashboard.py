"""A board and its JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from grafana.annotations import Shown, annotations
from grafana.layout import Section, arrange
from grafana.queries import Json
from grafana.variables import datasource

TAG = "streamworkers"
# The version of Grafana 10 and 11; newer releases upgrade it when they load the board.
SCHEMA_VERSION = 39
TIME_ZONE = "America/New_York"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The contents of a board. Its `uid` is its address and never changes."""

    uid: str
    title: str
    description: str
    sections: Sequence[Section]
    variables: Sequence[Json] = ()
    since: str = "now-6h"
    refresh: str = "30s"
    annotated: tuple[Shown, ...] = ("Deploys",)

    def model(self) -> Json:
        """The board in Grafana's classic JSON."""
        chosen = [datasource("prometheus", "Prometheus"), datasource("postgres", "PostgreSQL"), *self.variables]
        return {
            "id": None,
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [TAG],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "fiscalYearStartMonth": 0,
            "weekStart": "",
            "timezone": TIME_ZONE,
            "time": {"from": self.since, "to": "now"},
            "timepicker": {},
            "refresh": self.refresh,
            "links": [_other_boards()],
            "templating": {"list": chosen},
            "annotations": {"list": annotations(self.annotated)},
            "panels": arrange(self.sections),
        }

    def text(self) -> str:
        """The JSON text that is committed."""
        return json.dumps(self.model(), indent=2, ensure_ascii=False) + "\n"


def _other_boards() -> Json:
    return {
        "type": "dashboards",
        "title": "streamworkers",
        "tags": [TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": False,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
