"""The worked examples of docs/guides/alerts.md: an alert, a path of bars, and the bars at which it fires."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np

from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.decide_bars import compile_alert
from streamworkers.alerts.document import Alert, parse_alert
from streamworkers.alerts.trial import Trial, try_alert
from streamworkers.market.bars.bars import Bars, to_times
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.market.calendar.windows import windows_between
from streamworkers.rules.bar_columns import compute_columns
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.rules.tree import needed_fields, needed_patterns

GUIDE = Path(__file__).parents[1] / "guides" / "alerts.md"
_EXAMPLES = re.compile(r"^### \d+\. ", re.MULTILINE)
_EXAMPLE = re.compile(
    r"(?P<title>[^\n]+)\n.*?```(?:alert|json)\n(?P<alert>.*?)```.*?```path\n(?P<path>.*?)```"
    r".*?!\[[^\]]*\]\(\.\./images/alerts/(?P<picture>[\w-]+\.svg)\)",
    re.DOTALL,
)
_FIRST_DAY, _LAST_DAY = date(2026, 1, 5), date(2026, 3, 31)


@dataclass(frozen=True, slots=True)
class Example:
    """One example of the guide. `fires` has the letter of each bar: F, or a dot for a bar without a firing."""

    title: str
    alert: Alert
    price: tuple[float, ...]
    volume: tuple[float, ...]
    fires: str
    picture: str

    def run(self) -> tuple[Trial, Bars]:
        """Decide the bars of the path, as an alert that was added before the first of them."""
        bars, closes = self._bars()
        alert = compile_alert(self.alert.rule, self.alert.rearm, self.alert.limits)
        columns = compute_columns(bars, needed_fields(self.alert.rule), needed_patterns(self.alert.rule))
        return try_alert(alert, columns, closes), bars

    def _bars(self) -> tuple[Bars, list[datetime]]:
        frame = timeframe_named(self.alert.timeframe or "day")
        windows = windows_between(_FIRST_DAY, _LAST_DAY)
        starts = windows.expected(frame, _FIRST_DAY, _LAST_DAY)[: len(self.price)]
        closes = [datetime.fromtimestamp(end / 1000, UTC) for end in windows.ends(frame, starts).tolist()]
        price = np.array(self.price)
        return Bars(to_times(frame, starts), price, price, price, price, np.array(self.volume)), closes


def read_examples() -> list[Example]:
    """The examples of the guide, in its order."""
    parts = _EXAMPLES.split(GUIDE.read_text(encoding="utf-8"))[1:]
    return [_read(found) for found in map(_EXAMPLE.match, parts) if found]


def _read(found: re.Match[str]) -> Example:
    text, vocabulary = found["alert"].strip(), MarketVocabulary()
    alert = parse_alert(json.loads(text), vocabulary) if text[0] == "{" else parse_alert_text(text, vocabulary)
    rows = {words[0]: words[1:] for words in map(str.split, found["path"].splitlines()) if words}
    price = tuple(map(float, rows["price"]))
    volume = tuple(np.nan if word == "-" else float(word) for word in rows.get("volume", ["1000000"] * len(price)))
    return Example(found["title"], alert, price, volume, "".join(rows["fires"]), found["picture"])
