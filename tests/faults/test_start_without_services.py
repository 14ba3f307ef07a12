"""A supervisor and a scheduler that are started while a store is away wait for it, and not for what nobody heals."""

import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from faults.faulty_pool import DATABASE, LOGIN, ROLE
from harness import Scheduler, Service, Supervisor, wait_until
from patience import paced, patient
from streamworkers.database import connect, fetch_value
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.redis.streams import open_streams
from streamworkers.migrations import migrate
from tcp_proxy import TcpProxy

pytestmark = pytest.mark.timeout(300)
WORDS = {Supervisor: ("--processes", "1", "--queue", "tests"), Scheduler: ()}
EITHER = pytest.mark.parametrize("kind", [Supervisor, Scheduler])


@dataclass
class Starter:
    """Starts processes that reach both stores through proxies."""

    folder: Path
    redis: TcpProxy
    postgres: TcpProxy
    environment: dict[str, str]
    started: list[Service] = field(default_factory=list)

    def start(self, kind: type[Service], **settings: object) -> Service:
        """Start a process, with other settings."""
        changes = {f"STREAMWORKERS_{name.upper()}": str(value) for name, value in settings.items()}
        words = (*WORDS[kind], "--metrics-port", "0")
        self.started.append(kind(self.environment | changes, self.folder / f"{len(self.started)}.log", words))
        return self.started[-1]


@pytest.fixture
def starter(faulty_services: EmbeddedServices, faults_environment: dict[str, str], tmp_path: Path) -> Iterator[Starter]:
    faulty_services.start()
    redis = TcpProxy(str(faulty_services.redis.socket_path))
    postgres = TcpProxy(str(faulty_services.postgres.socket_folder / ".s.PGSQL.5432"))
    prefix = f"start-{secrets.token_hex(4)}"
    environment = faults_environment | {
        "STREAMWORKERS_LOG_FORMAT": "json",
        "STREAMWORKERS_REDIS_URL": f"redis://127.0.0.1:{redis.port}",
        "STREAMWORKERS_DATABASE_URL": f"postgresql://{LOGIN}@127.0.0.1:{postgres.port}/{DATABASE}",
        "STREAMWORKERS_KEY_PREFIX": prefix,
        "STREAMWORKERS_START_WAIT_SECONDS": f"{patient(60):g}",
    }
    made = Starter(tmp_path, redis, postgres, environment)
    with connect(make_conninfo(faulty_services.postgres.url, dbname=DATABASE)) as connection:
        # The database belongs to the pool of other tests; these processes have a prefix of their own.
        before = fetch_value(connection, "SELECT key_prefix FROM installation")
        connection.execute("UPDATE installation SET key_prefix = NULL")
        yield made
        connection.execute("UPDATE installation SET key_prefix = %s", (before,))
    for process in made.started:
        process.kill_all()
    redis.close()
    postgres.close()
    streams = open_streams(faulty_services.redis.url, prefix)
    for key in streams.client.raw.scan_iter(match=f"{prefix}:*"):
        streams.client.raw.delete(key)
    streams.close()


def _probe(process: Service, path: str) -> tuple[int, str]:
    port = process.events("start_waits")[0]["metrics_port"]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=patient(40)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _wait_until_it_waits(process: Service, text: str) -> None:
    wait_until(lambda: process.events("start_waits"), 60, "it waits")
    assert _probe(process, "/livez") == (200, "ok\n")
    code, said = _probe(process, "/readyz")
    assert (code, text in said) == (503, True), said
    events = process.events("store_fault")
    assert [(event["who"], text in event["error"]) for event in events] == [("start", True)], "it is logged once"


def _wait_until_it_works(process: Service) -> None:
    started = f"{process.command.replace('worker', 'supervisor')}_started"
    wait_until(lambda: process.events(started), 60, "it starts")
    wait_until(lambda: _probe(process, "/readyz") == (200, "ok\n"), 60, "it is ready")
    assert process.events("store_fault_ended")[0]["who"] == "start"
    assert process.stop() == 0


def _reject_redis(starter: Starter) -> TcpProxy:
    starter.redis.reject()
    return starter.redis


def _reject_postgres(starter: Starter) -> TcpProxy:
    starter.postgres.reject()
    return starter.postgres


@EITHER
@pytest.mark.parametrize(
    ("reject", "text"),
    [(_reject_redis, "Redis does not answer: "), (_reject_postgres, "PostgreSQL does not answer: ")],
)
def test_it_waits_for_a_store_that_is_away(
    kind: type[Service], reject: Callable[[Starter], TcpProxy], text: str, starter: Starter
) -> None:
    proxy = reject(starter)
    process = starter.start(kind)
    _wait_until_it_waits(process, text)
    proxy.resume()
    _wait_until_it_works(process)


def test_it_waits_for_the_schema(faulty_services: EmbeddedServices, starter: Starter) -> None:
    name = f"empty_{secrets.token_hex(4)}"
    with connect(faulty_services.postgres.url) as admin:
        admin.execute(SQL("CREATE DATABASE {} OWNER {}").format(Identifier(name), Identifier(ROLE)))
        url = f"postgresql://{LOGIN}@127.0.0.1:{starter.postgres.port}/{name}"
        process = starter.start(Supervisor, database_url=url)
        _wait_until_it_waits(process, "the database lacks 0001_market.sql")
        with connect(url) as owner:
            migrate(owner)
        _wait_until_it_works(process)
        admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@EITHER
def test_it_gives_up_after_its_time(kind: type[Service], starter: Starter) -> None:
    starter.redis.reject()
    seconds = paced(0.5)
    process = starter.start(kind, start_wait_seconds=seconds)
    assert process.process.wait(patient(60)) == 3
    last = process.log.read_text().splitlines()[-1]
    assert last.startswith("Error: Redis does not answer: ")
    assert last.endswith(f" (waited {seconds:g} s: STREAMWORKERS_START_WAIT_SECONDS)")


def test_it_stops_while_it_waits(starter: Starter) -> None:
    starter.redis.reject()
    process = starter.start(Supervisor)
    _wait_until_it_waits(process, "Redis does not answer: ")
    assert process.stop() == 0


@dataclass(frozen=True)
class Hopeless:
    """A start that nobody heals: its settings, exit code and error."""

    settings: dict[str, str]
    code: int
    error: str


HOPELESS = [
    Hopeless(
        {"database_url": "postgresql://nobody_here:wrong@127.0.0.1:PORT/faults"}, 3, "Error: PostgreSQL rejects: "
    ),
    Hopeless({"redis_url": "redis://nobody:wrong@127.0.0.1:PORT"}, 3, "Error: Redis rejects: WRONGPASS "),
]


@pytest.mark.parametrize("case", HOPELESS, ids=["postgresql", "redis"])
def test_it_does_not_wait_for_what_nobody_heals(case: Hopeless, starter: Starter) -> None:
    ports = {"database_url": starter.postgres.port, "redis_url": starter.redis.port}
    process = starter.start(
        Supervisor, **{name: value.replace("PORT", str(ports[name])) for name, value in case.settings.items()}
    )
    assert process.process.wait(patient(40)) == case.code
    assert process.log.read_text().splitlines()[-1].startswith(case.error)
    assert process.events("start_waits") == []


def test_it_does_not_wait_for_a_schema_that_stops_this_release(
    faulty_services: EmbeddedServices, starter: Starter
) -> None:
    with connect(make_conninfo(faulty_services.postgres.url, dbname=DATABASE)) as connection:
        connection.execute("INSERT INTO schema_migrations VALUES (9999, '9999_new.sql', 'x', now(), true)")
        try:
            process = starter.start(Scheduler)
            assert process.process.wait(patient(40)) == 1
        finally:
            connection.execute("DELETE FROM schema_migrations WHERE number = 9999")
    error = "Error: migration '9999_new.sql' was applied but its file is gone: install the release that has it, or"
    assert process.log.read_text().splitlines()[-1].startswith(error)
