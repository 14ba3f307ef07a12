"""Builders of panels. Each needs an `About`: every panel says which question it answers and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Literal

from grafana.columns import state_colours, with_empty_cells, without_zeros
from grafana.looks import GREY, NOTHING_YET, Look, nothing, states_of, thresholds
from grafana.queries import Json, Query

Style = Literal["line", "bars", "points"]
# A panel this wide has room for its legend beside the chart.
_WIDE = 12


@dataclass(frozen=True, slots=True)
class About:
    """A panel's number, title and description. The number is stable: alerts link to it with `viewPanel`."""

    id: int
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Size:
    """Width in 24ths of the board, height in units of 30 pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel and its size; the layout places it."""

    model: Json
    size: Size

    def over(self, span: str) -> "Panel":
        """This panel over the last `span` (`14d`), independent of the board's time range."""
        return replace(self, model={**self.model, "timeFrom": span})


def timeseries(
    about: About,
    queries: Sequence[Query],
    look: Look,
    size: Size,
    *,
    style: Style = "line",
    stacked: bool = False,
) -> Panel:
    """Lines, bars or points over time. Series that are zero all the time are left out, if there are others."""
    custom: Json = {
        "drawStyle": style,
        "lineWidth": 1 if style == "bars" else 2,
        "fillOpacity": {"line": 30 if stacked else 5, "bars": 80, "points": 0}[style],
        "pointSize": 6 if style == "points" else 4,
        "showPoints": "always" if style == "points" else "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if look.thresholds else "off"},
        **_room_for(look),
        "scaleDistribution": {"type": "log", "log": 10} if look.scale == "log" else {"type": "linear"},
    }
    named = {state: None for query in queries for state in states_of(query.legend)}
    look = replace(look, columns=(*state_colours(*named), *look.columns))
    if any(query.has_many_series for query in queries):
        if not all(query.is_over_time for query in queries):
            look = replace(look, columns=(*look.columns, without_zeros()))
        queries = [query.without_zeros() if query.is_over_time else query for query in queries]
    options: Json = {"legend": _legend(size), "tooltip": {"mode": "multi", "sort": "desc", "hideZeros": True}}
    fields = _field_config(look, custom, "palette-classic")
    return _panel("timeseries", about, queries, fields, (options, size))


def stat(about: About, queries: Sequence[Query], look: Look, size: Size) -> Panel:
    """One large number for each series or numeric column, over its course where the query has one."""
    options: Json = {
        "reduceOptions": _last(""),
        "colorMode": "value",
        "graphMode": "area" if any(query.is_over_time for query in queries) else "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": True,
    }
    return _panel("stat", about, queries, _field_config(_with_words(look), {}, "thresholds"), (options, size))


def verdict(about: About, queries: Sequence[Query], look: Look, size: Size, *, field: str) -> Panel:
    """One sentence, the text column `field`, on a ground of its colour."""
    options: Json = {
        "reduceOptions": _last(f"/^{field}$/"),
        "colorMode": "background_solid",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "value",
        "wideLayout": True,
        "text": {"valueSize": 24},
    }
    return _panel("stat", about, queries, _field_config(_with_words(look, GREY), {}, "thresholds"), (options, size))


def gauge(about: About, queries: Sequence[Query], look: Look, size: Size) -> Panel:
    """One dial for each series, showing a part of a whole."""
    options: Json = {
        "reduceOptions": _last(""),
        "orientation": "auto",
        "showThresholdLabels": False,
        "showThresholdMarkers": True,
        "minVizWidth": 75,
        "minVizHeight": 75,
        "sizing": "auto",
    }
    return _panel("gauge", about, queries, _field_config(_with_words(look), {}, "thresholds"), (options, size))


def table(
    about: About, queries: Sequence[Query], look: Look, size: Size, *, transformations: Sequence[Json] = ()
) -> Panel:
    """Rows and columns. Text wraps, a null is a dash, and `look.no_value` is shown only when there is no row."""
    custom: Json = {
        "align": "auto",
        "cellOptions": {"type": "auto", "wrapText": True},
        "wrapText": True,
        "filterable": False,
        "inspect": False,
        "minWidth": 50,
        "wrapHeaderText": True,
    }
    options: Json = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": [], "fields": ""}}
    fields = _field_config(replace(look, mappings=with_empty_cells(look)), custom, "thresholds")
    made = _panel("table", about, queries, fields, (options, size))
    return replace(made, model={**made.model, "transformations": list(transformations)})


def sorted_by(panel: Panel, column: str, *, descending: bool = False) -> Panel:
    """A table in the order of a column, for answers that have none of their own."""
    order = [{"displayName": column, "desc": descending}]
    return replace(panel, model={**panel.model, "options": {**panel.model["options"], "sortBy": order}})


def text(number: int, title: str, content: str, size: Size) -> Panel:
    """Markdown."""
    options: Json = {"mode": "markdown", "content": content}
    return Panel({"type": "text", "id": number, "title": title, "options": options}, size)


def barchart(about: About, queries: Sequence[Query], look: Look, size: Size, *, x: str, stacked: bool = False) -> Panel:
    """Bars for each row; column `x` names them, every other column is a number."""
    custom: Json = {"lineWidth": 1, "fillOpacity": 80, "thresholdsStyle": {"mode": "off"}}
    options: Json = {
        "xField": x,
        "orientation": "horizontal",
        "barWidth": 0.9,
        "groupWidth": 0.8,
        "showValue": "auto",
        "stacking": "normal" if stacked else "none",
        "legend": {**_legend(size), "displayMode": "list", "placement": "bottom", "calcs": [], "showLegend": stacked},
        "tooltip": {"mode": "multi", "sort": "none"},
        "xTickLabelRotation": 0,
        "xTickLabelSpacing": 0,
    }
    fields = _field_config(look, custom, "thresholds" if look.thresholds else "palette-classic")
    return _panel("barchart", about, queries, fields, (options, size))


def candlestick(about: About, queries: Sequence[Query], look: Look, size: Size) -> Panel:
    """Candles and volume from the columns open, high, low, close, volume; other columns are lines over them."""
    options: Json = {
        "mode": "candles+volume",
        "candleStyle": "candles",
        "colorStrategy": "open-close",
        "colors": {"up": "green", "down": "red", "flat": "gray"},
        "fields": {name: name for name in ("open", "high", "low", "close", "volume")},
        "includeAllFields": True,
        "legend": {**_legend(size), "displayMode": "list", "placement": "bottom", "calcs": ["lastNotNull"]},
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    custom: Json = {"lineWidth": 1, "fillOpacity": 0, "spanNulls": True}
    return _panel("candlestick", about, queries, _field_config(look, custom, "palette-classic"), (options, size))


def state_timeline(about: About, queries: Sequence[Query], look: Look, size: Size) -> Panel:
    """Coloured spans of state over time, a line for each series; the numbers are named by `look.mappings`."""
    options: Json = {
        "mergeValues": True,
        "showValue": "never",
        "alignValue": "left",
        "rowHeight": 0.85,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    custom: Json = {"lineWidth": 0, "fillOpacity": 80, "spanNulls": True}
    return _panel("state-timeline", about, queries, _field_config(look, custom, "thresholds"), (options, size))


def merged(names: dict[str, str], *, hidden: Sequence[str] = ("Time",)) -> tuple[Json, ...]:
    """Several instant queries as one table: their columns (`Value #A`) renamed, in the order given."""
    organize = {
        "excludeByName": dict.fromkeys(hidden, True),
        "indexByName": {name: index for index, name in enumerate(names)},
        "renameByName": {name: shown for name, shown in names.items() if name != shown},
    }
    return ({"id": "merge", "options": {}}, {"id": "organize", "options": organize})


def _panel(kind: str, about: About, queries: Sequence[Query], fields: Json, shown: tuple[Json, Size]) -> Panel:
    options, size = shown
    model: Json = {
        "type": kind,
        "id": about.id,
        "title": about.title,
        "description": about.description,
        "datasource": queries[0].datasource,
        "targets": [query.target(letter) for query, letter in zip(queries, ascii_uppercase, strict=False)],
        "fieldConfig": fields,
        "options": options,
    }
    return Panel(model, size)


def _field_config(look: Look, custom: Json, colour_mode: str) -> Json:
    defaults: Json = {
        "color": {"mode": colour_mode},
        "custom": custom,
        "mappings": list(look.mappings),
        "thresholds": thresholds(look.thresholds or (("text", None),)),
        "links": list(look.links),
    }
    optional = {
        "unit": look.unit,
        "decimals": look.decimals,
        "min": look.minimum,
        "max": look.maximum,
        "noValue": look.no_value or NOTHING_YET,
    }
    defaults |= {name: value for name, value in optional.items() if value is not None}
    return {"defaults": defaults, "overrides": list(look.columns)}


def _with_words(look: Look, colour: str = "text") -> Look:
    """A look for one number, whose words for none do not have the colour of the lowest threshold."""
    return replace(look, mappings=(nothing(look.no_value or NOTHING_YET, colour), *look.mappings))


def _room_for(look: Look) -> Json:
    """An axis that also shows a limit that is far above the values."""
    limits = [value for _, value in look.thresholds if value is not None]
    return {"axisSoftMax": max(limits)} if limits and look.maximum is None else {}


def _legend(size: Size) -> Json:
    placement = "right" if size.width >= _WIDE else "bottom"
    return {"displayMode": "table", "placement": placement, "showLegend": True, "calcs": ["lastNotNull", "max"]}


def _last(fields: str) -> Json:
    """The last value of the fields that match; the empty string is every numeric field, which leaves out the time."""
    return {"calcs": ["lastNotNull"], "fields": fields, "values": False}
