"""Times as people write and read them: in New York, unless they name a zone."""

from datetime import UTC, date, datetime, time

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, timeframe_named


def parse_moment(text: str) -> datetime:
    """Parse `YYYY-MM-DD`, the end of that day, or an ISO 8601 time into an aware datetime.

    Without a zone it is in New York.
    """
    try:
        if len(text) == 10:
            moment = datetime.combine(date.fromisoformat(text), time(23, 59, 59, 999_999))
        else:
            moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"{text!r} is not a date YYYY-MM-DD or a time in ISO 8601") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=EXCHANGE_ZONE)
    try:
        moment.astimezone(UTC), moment.astimezone(EXCHANGE_ZONE)
    except OverflowError:
        raise BadInputError(f"{text!r} is outside of the years 1 to 9999") from None
    return moment


def show_bar_time(moment: datetime | None, timeframe: str | None) -> str:
    """Format the time of a bar: a date for day, week and month, else the minute in New York.

    A stored row may have any text as its timeframe: its time is shown with the minute.
    """
    if moment is None:
        return ""
    local = moment.astimezone(EXCHANGE_ZONE)
    try:
        is_day = timeframe is None or not timeframe_named(timeframe).intraday
    except BadInputError:
        is_day = False
    return local.date().isoformat() if is_day else local.strftime("%Y-%m-%d %H:%M")


def show_moment_there(moment: datetime | None) -> str:
    """A moment in New York with its zone, for a sentence."""
    return "" if moment is None else moment.astimezone(EXCHANGE_ZONE).strftime("%Y-%m-%d %H:%M %Z")
