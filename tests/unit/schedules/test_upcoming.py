"""The ticks of several schedules together."""

from datetime import UTC, datetime

import pytest

from streamworkers.errors import BadInputError
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.upcoming import list_upcoming


def test_ticks_beyond_the_year_9999_are_an_error_that_names_where_they_begin() -> None:
    definition = ScheduleDefinition.parse({"name": "a", "job": "noop", "cron": "* * * * *", "timezone": "UTC"})
    with pytest.raises(BadInputError, match=r"the ticks from 9999-12-31T23:58:00\+00:00 on leave the years 1 to 9999"):
        list_upcoming([definition], datetime(9999, 12, 31, 23, 58, tzinfo=UTC), None, 10)
