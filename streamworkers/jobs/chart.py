"""The job `chart`: draws a symbol for a user of the bot, with the levels and indicators of the user's alerts."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import ClassVar, NamedTuple
from uuid import UUID

from streamworkers.alerts.alert_printer import print_alert
from streamworkers.alerts.document import Alert
from streamworkers.alerts.selection import AlertSelector, select_alerts
from streamworkers.alerts.store.alerts import StoredAlert
from streamworkers.alerts.stored_bars import BarPeriod, StoredBars, bars_before, read_stored_bars
from streamworkers.config import load_settings
from streamworkers.database import Connection
from streamworkers.engine.job import Context, Job, JobParameters, RunRequest
from streamworkers.engine.outcome import Completed, Event, Item, Outcome
from streamworkers.errors import BadInputError
from streamworkers.faults import describe
from streamworkers.logger import get_logger
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, Timeframe, timeframe_named
from streamworkers.notifications.content import Content
from streamworkers.notifications.drawing import Drawing, can_draw, draw
from streamworkers.notifications.store.answers import keep_answer
from streamworkers.rules.bar_columns import compute_columns
from streamworkers.rules.dimensions import PRICE
from streamworkers.rules.market_functions import BAR_FIELDS
from streamworkers.rules.printer import print_value
from streamworkers.rules.tree import (
    Channel,
    Comparison,
    Constant,
    Crossing,
    Field,
    Range,
    leaves,
    needed_fields,
    operands,
)

log = get_logger()
BARS = 120
MOST_ALERTS, MOST_LINES = 10, 4  # that one picture shows
_LONGEST_RULE = 200
_WITH_LEVELS = (Comparison, Crossing, Range, Channel)
WITHOUT_EXTRA = "Without a picture: the worker lacks the extra `charts` (pip install 'streamworkers[charts]')."


class ChartParameters(JobParameters):
    """Whose alerts are shown, and the delivery that is answered with the chart."""

    user: str
    answer: UUID


class Charted(NamedTuple):
    """For whom the message of a chart is, what it says, and its picture if one could be drawn."""

    user: str
    answer: UUID
    content: Content
    picture: bytes | None = None


class Chart(Job[ChartParameters, Charted]):
    """Draws the chart that a user of the bot asked for; `save` writes the answer, so that it is sent once."""

    name: ClassVar[str] = "chart"
    queue: ClassVar[str] = "notify"
    parameters: ClassVar[type[JobParameters]] = ChartParameters
    batch_size: ClassVar[int] = 1
    timeout_seconds: ClassVar[float] = 60.0
    needs_bars: ClassVar[bool] = True

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        """Require a timeframe. Raises BadInputError without one."""
        del connection
        if request.timeframe is None:
            raise BadInputError("job 'chart' needs a timeframe")
        return request

    def execute(self, items: Sequence[Item], context: Context[ChartParameters]) -> Iterator[Outcome[Charted]]:
        """Draw the newest closed bars; what cannot be drawn is answered in words."""
        assert context.timeframe is not None  # `prepare` requires it
        wanted = context.parameters
        until = context.as_of or datetime.now(UTC)
        for item in items:
            try:
                made = _make(context.connection, (item.symbol, timeframe_named(context.timeframe)), wanted, until)
            except BadInputError as error:
                made = Charted(wanted.user, wanted.answer, Content("No chart", (str(error),)))
            yield Completed(item, made, {"picture": made.picture is not None})

    def save(self, connection: Connection, completed: Sequence[Completed[Charted]]) -> Iterable[Event]:
        """Write the answers, which are sent from then on."""
        for each in completed:
            keep_answer(connection, *each.value)
        return []


def _make(connection: Connection, series: tuple[str, Timeframe], wanted: ChartParameters, until: datetime) -> Charted:
    symbol, frame = series
    selector = AlertSelector(symbol=symbol, timeframe=frame.name)
    found = select_alerts(connection, wanted.user, selector)[:MOST_ALERTS]
    alerts = [each.alert for each in found]
    calendar = load_settings().calendar
    stored = read_stored_bars(
        connection, symbol, frame, _bars_before(alerts, frame), BarPeriod(until, newest=BARS), calendar
    )
    if not stored.closes:
        raise BadInputError(f"no closed {frame.name} bars of {symbol} are stored")
    picture, note = _draw(stored, f"{symbol}, {frame.name}", alerts)
    return Charted(wanted.user, wanted.answer, _write(stored, (symbol, frame), found, note), picture)


def _bars_before(alerts: Sequence[Alert], frame: Timeframe) -> int | None:
    """The bars before the first one that the indicators of the alerts need; None for all."""
    needed = [bars_before(alert.rule, frame) for alert in alerts]
    return None if None in needed else max(filter(None, needed), default=1)


def _draw(stored: StoredBars, title: str, alerts: Sequence[Alert]) -> tuple[bytes | None, str]:
    """Return the picture, or why there is none."""
    if not can_draw():
        return None, WITHOUT_EXTRA
    shown = slice(-len(stored.closes), None)
    over, below = _choose_lines(alerts)
    try:
        columns = compute_columns(stored.bars, [*over, *below]).fields
        drawing = Drawing(
            stored.bars.at(shown),
            title,
            _levels(alerts),
            {print_value(each): columns[each][shown] for each in over},
            {print_value(each): columns[each][shown] for each in below},
        )
        return draw(drawing), ""
    except Exception as error:  # noqa: BLE001  # of a library that draws; the words are sent all the same
        log.warning("picture_not_drawn", error=describe(error))
        return None, "Without a picture: it could not be drawn."


def _choose_lines(alerts: Sequence[Alert]) -> tuple[list[Field], list[Field]]:
    """The indicators of alerts that are prices, and of the others those of one measure."""
    fields = [each for alert in alerts for each in needed_fields(alert.rule) if each.name not in BAR_FIELDS]
    chosen = list(dict.fromkeys(fields))
    others = [each for each in chosen if each.dimension != PRICE]
    below = [each for each in others if each.dimension == others[0].dimension]
    return [each for each in chosen if each.dimension == PRICE][:MOST_LINES], below[:MOST_LINES]


def _levels(alerts: Sequence[Alert]) -> list[float]:
    """The constants with which alerts compare prices."""
    found = []
    for leaf in (each for alert in alerts for each in leaves(alert.rule)):
        left, *others = operands(leaf)
        if isinstance(leaf, _WITH_LEVELS) and isinstance(left, Field) and left.dimension == PRICE:
            found += [each.value for each in others if isinstance(each, Constant)]
    return list(dict.fromkeys(found))


def _write(stored: StoredBars, series: tuple[str, Timeframe], alerts: Sequence[StoredAlert], note: str) -> Content:
    symbol, frame = series
    form = "%Y-%m-%d %H:%M %Z" if frame.intraday else "%Y-%m-%d"
    first, last = (stored.start_of(place).astimezone(EXCHANGE_ZONE) for place in (-len(stored.closes), -1))
    about = f"close {stored.bars.close[-1]:.10g}, {len(stored.closes)} bars from {first:{form}} to {last:{form}}"
    rules = [f"{each.id}: {print_alert(each.alert)}"[:_LONGEST_RULE] for each in alerts]
    return Content(
        f"{symbol}, {frame.name}", (about, *(rules or ["No alert of yours is about it."]), *([note] if note else []))
    )
