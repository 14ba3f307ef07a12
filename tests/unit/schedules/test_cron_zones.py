"""Cron expressions tick as a brute force says, also where clocks change in unusual ways: a sample of all zones.

`benchmarks/cron_zones.py` compares every zone.
"""

import random
from zoneinfo import ZoneInfo

import pytest

from cron_agreement import Agreement, compare, compare_zone
from cron_oracle import Expression, Walk, find_changes, invent

# By half an hour, two or three hours, at midnight, into the day before or after, or for Ramadan.
ODD_ZONES = (
    *("Africa/Cairo", "Africa/Casablanca", "Africa/Juba", "America/Asuncion", "America/Havana", "America/Nuuk"),
    *("America/Santiago", "America/Scoresbysund", "America/Whitehorse", "Antarctica/Casey", "Antarctica/Troll"),
    *("Antarctica/Vostok", "Asia/Amman", "Asia/Beirut", "Asia/Gaza", "Asia/Tehran", "Australia/Lord_Howe"),
    *("Europe/Dublin", "Europe/Volgograd", "Pacific/Chatham", "Pacific/Norfolk"),
)


@pytest.mark.parametrize("name", ODD_ZONES)
def test_ticks_of_a_zone_are_those_of_a_brute_force(name: str) -> None:
    agreement = compare_zone(name, random.Random(f"1:{name}"), expressions=24, quiet_walks=0, most_changes=2)
    assert agreement.differences == []
    assert agreement.changes > 0
    assert agreement.ticks > 0


def test_the_brute_force_notices_a_time_of_another_rule() -> None:
    zone = ZoneInfo("Australia/Lord_Howe")
    walk = Walk.around(find_changes(zone)[1], zone, days=4)
    for is_fixed, differs in ((True, False), (False, True)):
        agreement = Agreement("Australia/Lord_Howe")
        expression = Expression("10 2 * * *", [0], {10}, {2}, lambda day: True, is_fixed)
        compare(agreement, walk, expression, random.Random(1))
        assert bool(agreement.differences) == differs


def test_invented_expressions_are_of_every_form() -> None:
    rng = random.Random(1)
    near = find_changes(ZoneInfo("Africa/Cairo"))[0]
    invented = [invent(rng, near) for _ in range(300)]
    assert {expression.is_fixed for expression in invented} == {True, False}
    for form in ("*/", "-", ",", "#", "L", "LW", "MON-FRI"):
        assert any(form in expression.text for expression in invented)
