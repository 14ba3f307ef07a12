"""URLs of a Redis that Sentinel watches."""

import pytest

from streamworkers.config import Settings
from streamworkers.engine.redis.client import open_client
from streamworkers.engine.redis.sentinel_url import SentinelService, parse_sentinel_url
from streamworkers.errors import BadInputError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis+sentinel://one/pool", SentinelService("pool", [("one", 26379)], {"db": 0}, {})),
        (
            "redis+sentinel://user:p%40ss@one:1,two:2,[::1]:3/pool/4?sentinel_username=s&sentinel_password=q%2F",
            SentinelService(
                "pool",
                [("one", 1), ("two", 2), ("::1", 3)],
                {"username": "user", "password": "p@ss", "db": 4},
                {"username": "s", "password": "q/"},
            ),
        ),
        (
            "rediss+sentinel://one/pool?ssl_ca_certs=%2Fa%20b.pem&sentinel_username=s",
            SentinelService("pool", [("one", 26379)], {"db": 0}, {"username": "s"}, {"ssl_ca_certs": "/a b.pem"}),
        ),
    ],
)
def test_a_url_is_parsed_and_accepted_as_a_setting(url: str, expected: SentinelService) -> None:
    assert parse_sentinel_url(url) == expected
    assert Settings(redis_url=url).redis_url is not None


@pytest.mark.parametrize(
    "rest", ["one:1", "one:1/", "one:1/pool/x", "one:x/pool", "/pool", "one,/pool", "one/pool?db=1"]
)
def test_a_malformed_url_is_rejected_without_its_password(rest: str) -> None:
    with pytest.raises(
        BadInputError, match=r"is not redis\+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/"
    ) as caught:
        parse_sentinel_url(f"redis+sentinel://user:hunter2@{rest}")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (
            "redis+sentinel://one/pool?ssl_ca_certs=a",
            r"has ssl_ca_certs, which needs TLS: begin it with .*\+sentinel://",
        ),
        ("rediss+sentinel://one/pool?ssl_ca_cert=a", "has the option 'ssl_ca_cert'; a URL can have client_name, db,"),
        ("rediss+sentinel://one/pool?ssl_keyfile=a", "has one of ssl_certfile and ssl_keyfile: a client has both or"),
    ],
)
def test_options_of_tls_are_those_of_a_url_with_tls(url: str, reason: str) -> None:
    with pytest.raises(BadInputError, match=reason):
        open_client(url)
