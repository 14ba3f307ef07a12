"""One API process for each test module."""

import secrets
from collections.abc import Iterator

import pytest

from api_stage import ApiStage, running_api
from harness import ServiceUrls
from streamworkers.engine.registry import Registry


@pytest.fixture(scope="module")
def api(service_urls: ServiceUrls, registry: Registry) -> Iterator[ApiStage]:
    """A server with the users ann, bob, eve, who only reads, and root, who is an admin."""
    with running_api(service_urls, f"test-{secrets.token_hex(6)}", registry) as stage:
        yield stage
