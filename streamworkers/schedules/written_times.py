"""Times as people write them for a schedule: in its time zone, unless they name an offset. Pure."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from streamworkers.errors import BadInputError


def parse_time_in_zone(text: str, zone: ZoneInfo) -> datetime:
    """Parse `2026-12-01T19:00`, or an ISO time with an offset, into a moment in UTC.

    Raises BadInputError for a text that is no date with a time, and for a local time that clocks skip or show twice.
    """
    try:
        if len(text.strip()) <= 10:
            raise ValueError
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        return _require_clear(text, moment, zone)
    except (ValueError, OverflowError):
        raise BadInputError(f"{text!r} is not a date with a time, such as 2026-12-01T19:00") from None


def parse_end_of_period(value: object, zone: ZoneInfo) -> datetime:
    """Parse the end of a period: a time, or a day, which is in it as a whole. Raises BadInputError.

    YAML reads both without quotes as dates and times.
    """
    text = value.isoformat() if isinstance(value, date) else value
    if not isinstance(text, str):
        raise BadInputError("it is not a date such as 2026-12-01, alone or with a time")
    if len(text.strip()) > 10:
        return parse_time_in_zone(text, zone)
    try:
        return datetime.combine(date.fromisoformat(text.strip()) + timedelta(days=1), time(), tzinfo=zone).astimezone(
            UTC
        )
    except (ValueError, OverflowError):
        raise BadInputError(f"{text!r} is not a date such as 2026-12-01, alone or with a time") from None


def _require_clear(text: str, moment: datetime, zone: ZoneInfo) -> datetime:
    first, second = (moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first.astimezone(zone).replace(tzinfo=None) != moment:
        raise BadInputError(f"{text!r} is a time that the clocks in {zone.key} skip")
    if first != second:
        raise BadInputError(
            f"{text!r} comes twice in {zone.key}: name an offset, such as {first.astimezone(zone).isoformat()}"
        )
    return first
