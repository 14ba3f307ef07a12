"""The looks of single columns, series and fields of a panel, and where they link to."""

from typing import Literal

from grafana.looks import ID, Look, Steps, colour_of_line, empty_cells, in_colours, thresholds
from grafana.queries import Json

Align = Literal["auto", "left", "center", "right"]
_HERE = "&var-postgres=${postgres}&var-prometheus=${prometheus}"


def link(title: str, url: str, *, apart: bool = False) -> Json:
    """A data link; `${__data.fields.NAME}` in it is the value of a column of the row. `apart`: in a new tab."""
    return {"title": title, "url": url, "targetBlank": apart}


def to_run(name: str = "run") -> Json:
    """A link to the details of the run whose id is in a column."""
    url = f"/d/streamworkers-runs?var-run=${{__data.fields.{name}}}{_HERE}&${{__url_time_range}}"
    return link("details of this run", url)


def to_symbol() -> Json:
    """A link to the candles of a row's symbol."""
    return link("its candles", f"/d/streamworkers-market?var-symbol=${{__data.fields.symbol}}{_HERE}")


def column(
    name: str,
    unit: str | None = None,
    *,
    width: int | None = None,
    steps: Steps = (),
    to: Json | None = None,
    bar: bool = False,
) -> Json:
    """The look of one column; `bar` draws a ratio as a bar. A column without a width shares what is left."""
    properties: list[Json] = []
    if unit is not None:
        properties.append({"id": "unit", "value": unit})
    if width is not None:
        properties.append({"id": "custom.width", "value": width})
    if steps:
        properties += _by_thresholds(steps)
        if not bar:
            properties.append({"id": "custom.cellOptions", "value": {"type": "color-text", "wrapText": True}})
    if bar:
        shape = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
        properties.append({"id": "custom.cellOptions", "value": shape})
        properties += [{"id": "min", "value": 0}, {"id": "max", "value": 1}]
    if to is not None:
        properties.append({"id": "links", "value": [to]})
    return _named(name, properties)


def run_column(name: str = "run") -> Json:
    """A column of run ids, each a link to its run."""
    made = column(name, ID, width=72, to=to_run(name))
    made["properties"] += [{"id": "decimals", "value": 0}, {"id": "custom.align", "value": "left"}]
    return made


def symbol_column(width: int = 90) -> Json:
    """A column of symbols, each a link to its candles."""
    return column("symbol", width=width, to=to_symbol())


def state_column(name: str, width: int | None = None, *, filled: bool = False) -> Json:
    """A column of states, each shown in its colour; `filled` colours the cell instead of the text.

    A state stands on one line: one of two words would else decide the height of its row, and hide a longer text.
    """
    kind = {"type": "color-background", "mode": "basic"} if filled else {"type": "color-text"}
    properties: list[Json] = [
        {"id": "mappings", "value": [*empty_cells(), in_colours()]},
        {"id": "custom.cellOptions", "value": {**kind, "wrapText": True}},
        {"id": "custom.wrapText", "value": False},
    ]
    if width is not None:
        properties.append({"id": "custom.width", "value": width})
    return _named(name, properties)


def series_colour(name: str, colour: str) -> Json:
    """A fixed colour for one series."""
    return _named(name, [_fixed(colour)])


def state_colours(*states: str) -> tuple[Json, ...]:
    """The fixed colours of series that end with the name of a state or outcome."""
    return tuple(
        {
            "matcher": {"id": "byRegexp", "options": f"/(^|[ :]){state}$/"},
            "properties": [_fixed(colour_of_line(state))],
        }
        for state in states
    )


def stat_field(name: str, steps: Steps) -> Json:
    """Thresholds of one of several fields of a stat."""
    return _named(name, _by_thresholds(steps))


def without_zeros() -> Json:
    """Leaves out series that are zero all the time: they fill a legend and say nothing."""
    hidden = {"legend": True, "tooltip": True, "viz": True}
    return {
        "matcher": {"id": "byValue", "options": {"reducer": "allIsZero", "op": "gte", "value": 0}},
        "properties": [{"id": "custom.hideFrom", "value": hidden}],
    }


def with_empty_cells(look: Look) -> tuple[Json, ...]:
    """The mappings of a table: its own, after the dash for what is empty."""
    return (*empty_cells(), *look.mappings)


def _named(name: str, properties: list[Json]) -> Json:
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def _by_thresholds(steps: Steps) -> list[Json]:
    """Thresholds colour nothing unless the colour mode of the field says so."""
    return [{"id": "thresholds", "value": thresholds(steps)}, {"id": "color", "value": {"mode": "thresholds"}}]


def _fixed(colour: str) -> Json:
    return {"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}
