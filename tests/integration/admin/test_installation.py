"""One ledger has one pool, and a key prefix has one ledger; both are tied by the first process that starts."""

import secrets
from collections.abc import Iterator

import pytest

from harness import ServiceUrls
from streamworkers.admin.installation import adopt, require_installation
from streamworkers.database import Connection
from streamworkers.engine.redis import keys
from streamworkers.engine.redis.heartbeats import SupervisorStatus
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.errors import UsageError


@pytest.fixture
def other_streams(service_urls: ServiceUrls) -> Iterator[Streams]:
    """The keys of another prefix."""
    opened = open_streams(service_urls.redis, f"other-{secrets.token_hex(4)}")
    yield opened
    opened.client.raw.delete(opened.keys.installation())
    opened.close()


def _renew(connection: Connection) -> None:
    """Let the database be another one's."""
    connection.execute("UPDATE installation SET id = gen_random_uuid(), key_prefix = NULL")


def test_the_first_process_ties_them_and_an_emptied_redis_is_tied_again(
    connection: Connection, streams: Streams
) -> None:
    for _ in range(2):
        require_installation(connection, streams)
        require_installation(connection, streams)
        assert streams.client.raw.get(streams.keys.installation()) is not None
        streams.client.raw.delete(streams.keys.installation())


def test_a_second_pool_on_the_same_database_is_rejected_until_it_adopts_it(
    connection: Connection, streams: Streams, other_streams: Streams
) -> None:
    require_installation(connection, streams)
    with pytest.raises(UsageError) as caught:
        require_installation(connection, other_streams)
    assert str(caught.value).startswith(
        f"this database belongs to the pool whose keys begin with {streams.keys.prefix!r}, and STREAMWORKERS_KEY_PREFIX"
        f" is {other_streams.keys.prefix!r}: two pools on one database would execute each item twice."
    )
    adopt(connection, other_streams)
    require_installation(connection, other_streams)
    with pytest.raises(UsageError, match="this database belongs to the pool"):
        require_installation(connection, streams)


def test_a_second_database_with_the_same_prefix_is_rejected_until_it_adopts_it(
    connection: Connection, streams: Streams
) -> None:
    require_installation(connection, streams)
    first = streams.read_installation()
    _renew(connection)
    with pytest.raises(UsageError) as caught:
        require_installation(connection, streams)
    assert str(caught.value).startswith(
        f"the keys that begin with {streams.keys.prefix!r} belong to installation {first}, and this database is"
    )
    streams.heartbeats.beat("alive", SupervisorStatus(), 60_000)
    with pytest.raises(UsageError, match=r"1 supervisors with the key prefix '.*' are alive, such as alive: stop them"):
        adopt(connection, streams)
    streams.heartbeats.end("alive")
    adopt(connection, streams)
    require_installation(connection, streams)


def test_messages_of_two_installations_on_one_redis_do_not_meet(service_urls: ServiceUrls, key_prefix: str) -> None:
    own = open_streams(service_urls.redis, key_prefix, key_prefix)
    mine, others = Messages(service_urls.redis, key_prefix, key_prefix), Messages(service_urls.redis, "other-prefix")
    heard, missed = mine.subscribe(keys.PATTERNS_CHANNEL), others.subscribe(keys.PATTERNS_CHANNEL)
    own.publish([(keys.PATTERNS_CHANNEL, "event"), ("tests.effects", "")])
    assert (heard.next_message(5), missed.next_message(0.1)) == (b"event", None)

    inbox = (keys.DATA_LOAD_STREAM, keys.DATA_LOAD_GROUP)
    own.client.raw.xadd(f"{key_prefix}.jobs.data_load.stream", {"message": "m"})
    [entry] = mine.read_inbox(*inbox, "one", 10)
    assert mine.reclaim_inbox(*inbox, "two", 0, 10) == [entry]
    mine.finish_inbox(*inbox, [entry.entry_id])
    assert mine.prune_inbox(*inbox, 0) == 2
    mine.set_status("job", {"status": "done"}, 60)
    assert own.client.raw.hgetall(f"{key_prefix}.jobs.status:job") == {b"status": b"done"}
    for name in own.client.raw.scan_iter(f"{key_prefix}*"):
        own.client.raw.delete(name)
    for opened in (heard, missed, mine, others, own):
        opened.close()
