"""A fake Massive API for the tests of a module."""

from collections.abc import Iterator

import pytest

from massive_source import KEY, NOW, SPLITS
from streamworkers_fakes.massive import (
    FakeMassive,
    RunningFakeMassive,
    running_fake_massive,
)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningFakeMassive]:
    with running_fake_massive(FakeMassive(now=NOW, splits=SPLITS, unknown=["NONE"], api_keys=[KEY])) as server:
        yield server


@pytest.fixture
def server(running: RunningFakeMassive) -> Iterator[RunningFakeMassive]:
    running.forget_calls()
    yield running
    running.clear()
