"""A fake Massive API (formerly Polygon.io) for tests, demos and benchmarks.

A real HTTP server over a synthetic market that is a function of its seed. It has the formats, limits, paging and splits
of the real API, and misbehaves on demand.
"""

from streamworkers_fakes.massive.api import DEFAULT_KEY, FakeMassive
from streamworkers_fakes.massive.bars import FakeBars
from streamworkers_fakes.massive.calls import Call
from streamworkers_fakes.massive.listings import FakeCorrection, FakeListings, FakeRename
from streamworkers_fakes.massive.market import FakeMarket
from streamworkers_fakes.massive.misbehaviour import KINDS, Misbehaviour, parse_misbehaviour
from streamworkers_fakes.massive.plans import PLANS, FakePlan, parse_plan
from streamworkers_fakes.massive.server import RunningFakeMassive, fake_massive_process, running_fake_massive
from streamworkers_fakes.massive.splits import FakeSplit, parse_split
from streamworkers_fakes.massive.symbols import DEFAULT_SYMBOLS, DOW_30

__all__ = [
    "DEFAULT_KEY",
    "DEFAULT_SYMBOLS",
    "DOW_30",
    "KINDS",
    "PLANS",
    "Call",
    "FakeBars",
    "FakeCorrection",
    "FakeListings",
    "FakeMarket",
    "FakeMassive",
    "FakePlan",
    "FakeRename",
    "FakeSplit",
    "Misbehaviour",
    "RunningFakeMassive",
    "fake_massive_process",
    "parse_misbehaviour",
    "parse_plan",
    "parse_split",
    "running_fake_massive",
]
