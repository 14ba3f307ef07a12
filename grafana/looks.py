"""How values look: units, thresholds, and the one colour of each state and outcome on every board."""

from dataclasses import dataclass
from typing import Literal

from grafana.queries import Json

Steps = tuple[tuple[str, float | None], ...]
Scale = Literal["linear", "log"]

# What has not begun.
GREY = "#5a5f66"
NOTHING_YET = "nothing yet"

# The colours of the states of runs, ticks and health, and of the outcomes of items, on every board.
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
    "accepted": "green",
    "repeated": GREY,
    "ignored": "orange",
    "in time": "green",
    "open": "blue",
    "over": GREY,
    "ok": "green",
    "degraded": "orange",
    "critical": "red",
    "bullish": "green",
    "bearish": "red",
    "neutral": "text",
    "page": "red",
    "ticket": "orange",
    # What `evening` in sql/migrations says of a schedule.
    "overdue": "red",
    "late": "red",
    "stuck": "red",
    "incomplete": "red",
    "with errors": "orange",
    "slow": "orange",
    "done late": "orange",
    "paused": "orange",
    "on time": "blue",
    "done": "green",
    "due": GREY,
    "nothing yet": GREY,
    "away": "red",
    "back": "green",
}
# A word that would not fit into a column, and that nothing can wrap.
_SHOWN = {"COMPLETED_WITH_ERRORS": "WITH ERRORS"}
# Lines and bars that are named after a state or an outcome; what is only text in a table needs a colour here.
_OF_LINES = COLOURS | {
    "PENDING": "yellow",
    "pending": "yellow",
    "delayed": "purple",
    "neutral": "gray",
    "enqueued": "blue",
    "attempts": "yellow",
    "retried": "orange",
    "snoozed": "purple",
    "fenced": "red",
    "dropped": "gray",
    "busy": "green",
    "idle": "gray",
    "slots": "text",
    "needed": "orange",
    "duplicate": "gray",
    "ignored": "orange",
    "served": "green",
    "prepared": "green",
    "empty": "gray",
    "used": "blue",
}
# The values of labels whose series have a fixed colour.
_VALUES_OF_LABELS = {
    "outcome": (
        *("completed", "failed", "cancelled", "started", "rejected", "duplicate", "ignored", "served"),
        *("prepared", "empty", "retried"),
    ),
    "state": ("started", "waiting", "missed", "skipped", "rejected", "pending", "delayed", "busy", "idle", "used"),
    "status": ("COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED", "RUNNING", "PENDING"),
    "direction": ("bullish", "bearish", "neutral"),
}

ALWAYS_WELL: Steps = (("green", None),)
PLAIN: Steps = (("text", None),)

# Times in tables: a date that repeats in each row only takes room from what differs.
CLOCK = "time:HH:mm:ss"
DAY_AND_CLOCK = "time:MM-DD HH:mm"
DAY = "time:YYYY-MM-DD"
# An id is a name, not a quantity: 4121, not 4.12 K.
ID = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How values are shown. `unit` is a unit id of Grafana: s, short, bytes, percentunit, `CLOCK` …

    `no_value` is what a panel says instead of "No data"; a table says it only when it has no row.
    """

    unit: str | None = None
    decimals: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    thresholds: Steps = ()
    mappings: tuple[Json, ...] = ()
    columns: tuple[Json, ...] = ()
    no_value: str | None = None
    links: tuple[Json, ...] = ()
    scale: Scale = "linear"


def above(warning: float, bad: float) -> Steps:
    """Green, orange from `warning`, red from `bad`."""
    return (("green", None), ("orange", warning), ("red", bad))


def below(bad: float, warning: float) -> Steps:
    """Red below `bad`, orange below `warning`, else green."""
    return (("red", None), ("orange", bad), ("green", warning))


def any_is_bad() -> Steps:
    """Green at zero, red from one."""
    return (("green", None), ("red", 1))


def any_needs_a_look() -> Steps:
    """Green at zero, orange from one: worth a look, and no reason to act now."""
    return (("green", None), ("orange", 1))


def limit(bad: float) -> Steps:
    """Plain below the limit of an alert, red from it: one dashed line in a chart."""
    return (("text", None), ("red", bad))


def thresholds(steps: Steps) -> Json:
    """Steps as Grafana writes them."""
    return {"mode": "absolute", "steps": [{"color": colour, "value": value} for colour, value in steps]}


def empty_cells() -> tuple[Json, ...]:
    """Mappings that show nulls, NaN and empty texts as a dash, uncoloured.

    Without them they have the colour of the lowest threshold and, in a table, the text of `no_value`.
    """
    dash = {"text": "\N{EN DASH}", "color": "text"}
    return tuple(
        {"type": "special", "options": {"match": match, "result": {**dash, "index": index}}}
        for index, match in enumerate(("null+nan", "empty"))
    )


def nothing(words: str, colour: str = "text") -> Json:
    """A mapping that shows words where a number is missing, uncoloured: nothing yet is not the worst."""
    result = {"text": words, "color": colour, "index": 0}
    return {"type": "special", "options": {"match": "null+nan", "result": result}}


def in_colours() -> Json:
    """A mapping from every known state to its colour; its text stays."""
    options: Json = {
        state: {"color": colour, "index": index, **({"text": _SHOWN[state]} if state in _SHOWN else {})}
        for index, (state, colour) in enumerate(COLOURS.items())
    }
    return {"type": "value", "options": options}


def values_as(names: dict[int, tuple[str, str]]) -> Json:
    """A mapping from numbers to texts in colours."""
    return {
        "type": "value",
        "options": {
            str(number): {"text": text, "color": colour, "index": index}
            for index, (number, (text, colour)) in enumerate(names.items())
        },
    }


def starts_with(colours: dict[str, str]) -> tuple[Json, ...]:
    """Mappings from the first words of a text to a colour; the text stays."""
    return tuple(
        {"type": "regex", "options": {"pattern": f"^{words}.*", "result": {"color": colour, "index": index}}}
        for index, (words, colour) in enumerate(colours.items())
    )


def colour_of_line(state: str) -> str:
    """The colour of a line or bar that stands for a state."""
    return _OF_LINES[state]


def states_of(legend: str) -> list[str]:
    """The states that series of a legend can stand for: `{{job}} {{outcome}}` for every outcome."""
    if legend in _OF_LINES:
        return [legend]
    return [state for label, states in _VALUES_OF_LABELS.items() if f"{{{{{label}}}}}" in legend for state in states]
