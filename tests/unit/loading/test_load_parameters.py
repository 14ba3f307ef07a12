"""Parameters of a load mean rules; those stored by earlier releases are still read."""

from datetime import date, datetime

import pytest
from pydantic import ValidationError

from streamworkers.loading.load_rules import Span
from streamworkers.loading.parameters import LoadParameters
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE

NOW = datetime(2025, 11, 26, 18, 0, tzinfo=EXCHANGE_ZONE)


@pytest.mark.parametrize("name", ["grace_seconds", "settle_seconds"])
def test_grace_is_read_under_its_old_name_too_and_written_under_its_new_one(name: str) -> None:
    parameters = LoadParameters.model_validate({name: 90.0})
    assert parameters.rules(NOW).grace_seconds == 90.0
    stored = parameters.model_dump(mode="json", exclude_defaults=True)
    assert stored == {"grace_seconds": 90.0}
    assert LoadParameters.model_validate(stored) == parameters


def test_an_unknown_name_is_still_rejected() -> None:
    with pytest.raises(ValidationError, match="grace"):
        LoadParameters.model_validate({"graceseconds": 90.0})


def test_years_are_counted_back_from_today() -> None:
    assert LoadParameters(years=1).rules(NOW).span == Span(date(2024, 11, 27), date(2025, 11, 26))
