"""What the user says about files to read; what is None shows in each file, or in its layout."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from streamworkers.errors import BadInputError
from streamworkers.market.bars.bar_times import WeekLabel
from streamworkers.market.bars.numbers import DecimalMark
from streamworkers.market.bars.time_text import EpochUnit
from streamworkers.market.calendar.exchange import DEFAULT_CALENDAR
from streamworkers.market.calendar.symbol_calendars import ANY, CalendarRules
from streamworkers.market.files.limits import DEFAULT_LIMITS, FileLimits

FIELDS = ("symbol", "date", "time", "open", "high", "low", "close", "volume", "adjusted")
DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_NO_RULES = CalendarRules({ANY: DEFAULT_CALENDAR})
_SYMBOL = r"(?P<symbol>[^\s/]+?)"


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read files of bars.

    `columns` maps names of `FIELDS` to names or numbers of columns. `adjusted` takes adjusted prices where there are
    columns of them. `calendar` is that of all symbols; without it, those of `calendar_rules` are. `symbol_in_name`
    finds the symbol in a file's name. Without `judges_sessions`, bars on days without a session are left to the caller.
    """

    layout: str | None = None
    symbol: str | None = None
    symbol_in_name: re.Pattern[str] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    decimal: DecimalMark | None = None
    date_format: str | None = None
    time_unit: EpochUnit | None = None
    zone: ZoneInfo | None = None
    calendar: str | None = None
    calendar_rules: CalendarRules = _NO_RULES
    adjusted: bool = False
    week_label: WeekLabel | None = None
    encoding: str | None = None
    judges_sessions: bool = True
    limits: FileLimits = DEFAULT_LIMITS


def parse_columns(text: str) -> dict[str, str]:
    """Parse `date=Day,open=2`. Raises BadInputError for a word that is not FIELD=COLUMN, and for another field."""
    columns: dict[str, str] = {}
    for word in filter(None, text.split(",")):
        name, equals, column = word.partition("=")
        if not equals or name.strip().lower() not in FIELDS or not column.strip():
            raise BadInputError(f"the column {word!r} is not FIELD=COLUMN with a field of {', '.join(FIELDS)}")
        columns[name.strip().lower()] = column.strip()
    return columns


def parse_delimiter(text: str) -> str:
    """Return the one character of a delimiter, which may be named. Raises BadInputError."""
    found = DELIMITERS.get(text.lower(), "\t" if text == "\\t" else text)
    if len(found) != 1 or found.isalnum() or found in "\"'\r\n.":
        raise BadInputError(f"the delimiter {text!r} is not one character, nor one of {', '.join(DELIMITERS)}")
    return found


def parse_name_pattern(text: str) -> re.Pattern[str]:
    """Return the pattern of a file's name without its endings; `*` stands for anything. Raises BadInputError."""
    if text.count("{symbol}") != 1:
        raise BadInputError(f"the pattern {text!r} of a file's name does not have {{symbol}} in it, once")
    before, after = (".*".join(map(re.escape, part.split("*"))) for part in text.split("{symbol}"))
    return re.compile(before + _SYMBOL + after)


def stem_of(path: Path) -> str:
    """Return a file's name without its endings `.gz`, `.zip`, `.csv` and the like."""
    name = path.name
    for ending in (".gz", ".zip", ".csv", ".txt", ".tsv", ".prn"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name
