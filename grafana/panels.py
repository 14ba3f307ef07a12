"""Builders of panels. Each needs an `About`: every panel says which question it answers and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Literal

from grafana.queries import Json, Query

Steps = tuple[tuple[str, float | None], ...]
Style = Literal["line", "bars", "points"]

# The colours of the states of runs, ticks and health, on every board.
COLOURS = {
    "COMPLETED": "green",
    "COMPLETED_WITH_ERRORS": "orange",
    "FAILED": "red",
    "CANCELLED": "purple",
    "RUNNING": "blue",
    "PENDING": "text",
    "completed": "green",
    "failed": "red",
    "cancelled": "purple",
    "retrying": "orange",
    "pending": "text",
    "started": "green",
    "waiting": "blue",
    "missed": "red",
    "skipped": "orange",
    "rejected": "red",
    "ok": "green",
    "degraded": "orange",
    "critical": "red",
    "bullish": "green",
    "bearish": "red",
    "neutral": "text",
}

ALWAYS_WELL: Steps = (("green", None),)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How values are shown. `unit` is a unit id of Grafana: s, short, bytes, percentunit, dateTimeAsIso …"""

    unit: str | None = None
    decimals: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    thresholds: Steps = ()
    mappings: tuple[Json, ...] = ()
    columns: tuple[Json, ...] = ()
    no_value: str | None = None
    links: tuple[Json, ...] = ()


def above(warning: float, bad: float) -> Steps:
    """Green, orange from `warning`, red from `bad`."""
    return (("green", None), ("orange", warning), ("red", bad))


def below(bad: float, warning: float) -> Steps:
    """Red below `bad`, orange below `warning`, else green."""
    return (("red", None), ("orange", bad), ("green", warning))


def any_is_bad() -> Steps:
    """Green at zero, red from one."""
    return (("green", None), ("red", 1))


def link(title: str, url: str) -> Json:
    """A data link; `${__data.fields.NAME}` in it is the value of a column of the row."""
    return {"title": title, "url": url, "targetBlank": False}


def to_run(column: str = "run") -> Json:
    """A link to the details of the run whose id is in a column."""
    here = "&var-postgres=${postgres}&var-prometheus=${prometheus}&${__url_time_range}"
    return link("details of this run", f"/d/streamworkers-runs?var-run=${{__data.fields.{column}}}{here}")


def to_symbol() -> Json:
    """A link to the candles of a row's symbol."""
    here = "&var-postgres=${postgres}&var-prometheus=${prometheus}"
    return link("its candles", f"/d/streamworkers-market?var-symbol=${{__data.fields.symbol}}{here}")


def column(
    name: str,
    unit: str | None = None,
    *,
    width: int | None = None,
    steps: Steps = (),
    to: Json | None = None,
    bar: bool = False,
) -> Json:
    """The look of one column or series; `bar` draws a ratio as a bar in the cell."""
    properties: list[Json] = []
    if unit is not None:
        properties.append({"id": "unit", "value": unit})
    if width is not None:
        properties.append({"id": "custom.width", "value": width})
    if steps:
        properties.append({"id": "thresholds", "value": _thresholds(steps)})
        if not bar:
            properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
    if bar:
        properties.append({"id": "custom.cellOptions", "value": {"type": "gauge", "mode": "basic"}})
        properties += [{"id": "min", "value": 0}, {"id": "max", "value": 1}]
    if to is not None:
        properties.append({"id": "links", "value": [to]})
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def state_column(name: str) -> Json:
    """A column of states, each shown in its colour."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [
            {"id": "mappings", "value": [_in_colours()]},
            {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        ],
    }


def series_colour(name: str, colour: str) -> Json:
    """A fixed colour for one series."""
    value = {"mode": "fixed", "fixedColor": colour}
    return {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "color", "value": value}]}


def stat_field(name: str, steps: Steps) -> Json:
    """Thresholds of one of several fields of a stat."""
    properties = [{"id": "thresholds", "value": _thresholds(steps)}]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def values_as(names: dict[int, tuple[str, str]]) -> Json:
    """A mapping from numbers to texts in colours."""
    return {
        "type": "value",
        "options": {
            str(number): {"text": text, "color": colour, "index": index}
            for index, (number, (text, colour)) in enumerate(names.items())
        },
    }


def timeseries(
    about: About,
    queries: Sequence[Query],
    look: Look,
    size: Size,
    *,
    style: Style = "line",
    stacked: bool = False,
) -> Panel:
    """Lines, bars or points over time."""
    custom: Json = {
        "drawStyle": style,
        "lineWidth": 1,
        "fillOpacity": {"line": 10, "bars": 80, "points": 0}[style],
        "pointSize": 6 if style == "points" else 4,
        "showPoints": "always" if style == "points" else "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if look.thresholds else "off"},
    }
    options: Json = {"legend": _legend(), "tooltip": {"mode": "multi", "sort": "desc"}}
    return _panel("timeseries", about, queries, _field_config(look, custom), (options, size))


def stat(about: About, queries: Sequence[Query], look: Look, size: Size) -> Panel:
    """One large number for each series or column."""
    options: Json = {
        "reduceOptions": _last("/.*/"),
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": True,
    }
    return _panel("stat", about, queries, _field_config(look, {}), (options, size))


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
    return _panel("gauge", about, queries, _field_config(look, {}), (options, size))


def table(
    about: About, queries: Sequence[Query], look: Look, size: Size, *, transformations: Sequence[Json] = ()
) -> Panel:
    """Rows and columns."""
    custom: Json = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False}
    options: Json = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": [], "fields": ""}}
    made = _panel("table", about, queries, _field_config(look, custom), (options, size))
    return replace(made, model={**made.model, "transformations": list(transformations)})


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
        "legend": _legend(),
        "tooltip": {"mode": "multi", "sort": "none"},
        "xTickLabelRotation": 0,
        "xTickLabelSpacing": 0,
    }
    return _panel("barchart", about, queries, _field_config(look, custom), (options, size))


def candlestick(about: About, queries: Sequence[Query], look: Look, size: Size) -> Panel:
    """Candles and volume from the columns open, high, low, close, volume; other columns are lines over them."""
    options: Json = {
        "mode": "candles+volume",
        "candleStyle": "candles",
        "colorStrategy": "open-close",
        "colors": {"up": "green", "down": "red", "flat": "gray"},
        "fields": {name: name for name in ("open", "high", "low", "close", "volume")},
        "includeAllFields": True,
        "legend": _legend(),
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    custom: Json = {"lineWidth": 1, "fillOpacity": 0, "spanNulls": True}
    return _panel("candlestick", about, queries, _field_config(look, custom), (options, size))


def state_timeline(about: About, queries: Sequence[Query], look: Look, size: Size) -> Panel:
    """Coloured spans of state over time, a line for each series; the numbers are named by `look.mappings`."""
    options: Json = {
        "mergeValues": True,
        "showValue": "never",
        "alignValue": "left",
        "rowHeight": 0.85,
        "legend": _legend(),
        "tooltip": {"mode": "single", "sort": "none"},
    }
    custom: Json = {"lineWidth": 0, "fillOpacity": 80, "spanNulls": True}
    return _panel("state-timeline", about, queries, _field_config(look, custom), (options, size))


def row(number: int, title: str) -> Panel:
    """A heading over the panels that follow."""
    return Panel({"type": "row", "id": number, "title": title, "collapsed": False, "panels": []}, Size(24, 1))


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


def _field_config(look: Look, custom: Json) -> Json:
    steps = look.thresholds or (("green" if custom.get("drawStyle") is None else "text", None),)
    by_thresholds = bool(look.thresholds) and "drawStyle" not in custom
    defaults: Json = {
        "color": {"mode": "thresholds" if by_thresholds or not custom else "palette-classic"},
        "custom": custom,
        "mappings": list(look.mappings),
        "thresholds": _thresholds(steps),
        "links": list(look.links),
    }
    optional = {
        "unit": look.unit,
        "decimals": look.decimals,
        "min": look.minimum,
        "max": look.maximum,
        "noValue": look.no_value,
    }
    defaults |= {name: value for name, value in optional.items() if value is not None}
    return {"defaults": defaults, "overrides": list(look.columns)}


def _thresholds(steps: Steps) -> Json:
    return {"mode": "absolute", "steps": [{"color": colour, "value": value} for colour, value in steps]}


def _in_colours() -> Json:
    options = {state: {"color": colour, "index": index} for index, (state, colour) in enumerate(COLOURS.items())}
    return {"type": "value", "options": options}


def _legend() -> Json:
    return {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}


def _last(fields: str) -> Json:
    return {"calcs": ["lastNotNull"], "fields": fields, "values": False}
